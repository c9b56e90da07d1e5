"""Writes a file's SHA-256 into the file, so that any damage is detected.

Parquet's own checksums cover only its pages. A flipped bit in the data that describes the pages can change rows without
an error.
"""

import hashlib

MARK = b"tensormask-sha256:"
PLACE = MARK + b"0" * 64  # a file holds it once, and `with_checksum` replaces its zeros


def with_checksum(content: bytes) -> bytes:
    """Puts the checksum into a file's content.

    Args:
        content: of a file that contains PLACE. Its last occurrence counts.

    Returns:
        The content with its SHA-256 in that place.

    Raises:
        ValueError: the content doesn't contain PLACE.
    """
    start = content.rindex(PLACE) + len(MARK)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + 64 :]


def is_whole(content: bytes) -> bool:
    """Whether each byte of the file is as `with_checksum` returned it."""
    start = content.rfind(MARK) + len(MARK)
    found = content[start : start + 64]
    empty = content[:start] + b"0" * 64 + content[start + 64 :]
    return start >= len(MARK) and hashlib.sha256(empty).hexdigest().encode() == found
