"""A configuration and its weights to a checked model archive (.mar): python -m tensormask_server.archive --help"""
