"""The error of everything that finds or fetches a model's files."""


class ModelError(ValueError):
    """A model, or a file of one, that can't be had. The message has one line: what was found, and what to do."""
