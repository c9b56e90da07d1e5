"""The convolutions of a network as a graph for other programs: python -m tensormask_server.export --help"""
