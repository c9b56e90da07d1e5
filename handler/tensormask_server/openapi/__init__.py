"""The OpenAPI document of the server and its gateway: python -m tensormask_server.openapi --help"""
