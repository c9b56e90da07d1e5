"""A file's SHA-256 within the file, so that any damage to it is found.

Parquet's own checksums are those of its pages alone: a flipped bit in what says where the pages are and how they are to
be read can give other rows, and no error.
"""

import hashlib

MARK = b"tensormask-sha256:"
PLACE = MARK + b"0" * 64  # what a file has to hold, once, for `with_checksum` to fill in


def with_checksum(content: bytes) -> bytes:
    """
    Args:
        content: of a file, with PLACE somewhere; of several the last one counts.

    Returns:
        The same with the SHA-256 of the content in that place.

    Raises:
        ValueError: PLACE isn't in it.
    """
    start = content.rindex(PLACE) + len(MARK)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + 64 :]


def is_whole(content: bytes) -> bool:
    """Whether the file is, byte by byte, as `with_checksum` gave it."""
    start = content.rfind(MARK) + len(MARK)
    found = content[start : start + 64]
    empty = content[:start] + b"0" * 64 + content[start + 64 :]
    return start >= len(MARK) and hashlib.sha256(empty).hexdigest().encode() == found
