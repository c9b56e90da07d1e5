"""The command tensormask-gateway: an optional front door with paths, CORS and errors that TorchServe can't have."""
