"""One batch in the worker, from its requests to its responses. Nothing here knows TorchServe."""
