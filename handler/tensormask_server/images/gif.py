"""Drops what isn't pixels from a GIF before Pillow reads it. Pillow makes a Python object of each piece of a comment.

Source: GIF 89a, sections 12 to 27.
"""

import re

from tensormask_server.images.errors import ImageError

HEADER = 13  # bytes
IMAGE, TRAILER = b",", b";"
BLOCK = re.compile(b"[!,;]")  # some writers put zeros between blocks, and decoders skip them
GRAPHIC_CONTROL = 0xF9  # the extension that names the transparent colour
CONTROL_SIZE = 4  # bytes that it needs
# Before the first image; each has up to 255 bytes, and takes time. XMP is cut at every byte that could be a length.
MOST_SUB_BLOCKS = 100_000


def only_pixels(gif: bytes) -> bytes:
    """Leaves out the comments and other extensions before the first image of a GIF, without reading them.

    Args:
        gif: the file's bytes, which begin with GIF's signature. The file may be damaged.

    Returns:
        A GIF with the same pixels and transparency. What follows the start of its first image is as it was.

    Raises:
        ImageError: its extensions have far more parts than any writer makes.
    """
    view = memoryview(gif)
    position = HEADER
    if len(gif) >= HEADER and gif[10] & 128:
        position += 3 << (gif[10] & 7) + 1  # colours of the palette
    kept = [view[:position]]
    left = MOST_SUB_BLOCKS
    while (block := BLOCK.search(gif, position)) is not None:
        start = block.start()
        if block[0] in (IMAGE, TRAILER):
            kept.append(view[start:])
            break
        label, size = gif[start + 1 : start + 3].ljust(2, b"\0")
        position, left = _behind(gif, start + 2, left)
        if label == GRAPHIC_CONTROL and size >= CONTROL_SIZE:
            kept.append(view[start:position])
    return gif if sum(map(len, kept)) == len(gif) else b"".join(kept)


def _behind(gif: bytes, position: int, left: int) -> tuple[int, int]:
    """The position behind an extension's sub-blocks, and how many further ones may come.

    Args:
        position: of the first sub-block.
        left: how many may come.
    """
    for number in range(left):
        size = gif[position] if position < len(gif) else 0
        position += 1 + size
        if size == 0:
            return position, left - number - 1
    raise ImageError(f"the image is a GIF with more than {MOST_SUB_BLOCKS} parts of comments", "one without comments")
