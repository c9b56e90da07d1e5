"""The command tensormask-server: from an archive, or a configuration and weights, to a server that answers."""
