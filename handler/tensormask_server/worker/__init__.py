"""The worker: from a batch of requests to its responses. Nothing here depends on TorchServe."""
