"""The error of this room."""


class FilmError(Exception):
    """A film can't be read or written as requested. The message has one line."""
