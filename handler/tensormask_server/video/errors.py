"""The error of this room."""


class VideoError(Exception):
    """A video can't be read or written as requested. The message has one line."""
