"""The error of everything that makes an archive."""


class ArchiveError(Exception):
    """An archive that can't be made; the message has one line."""
