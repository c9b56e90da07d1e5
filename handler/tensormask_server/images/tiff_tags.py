"""Reads the tags of a TIFF's or BigTIFF's pages. Each number is checked against the file before it is used."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tensormask_server.images.errors import ImageError

BIG_TIFF = (b"II+\0", b"MM\0+")
MOST_PAGES = 100  # that are looked at; a stack of a microscope can have far more
MOST_TAGS = 4096  # of a page; real ones have 10 to 100

SUBFILE_TYPE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 273, 274, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 317, 322, 323, 324, 325
SUB_PAGES, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, NO_DATA, DNG_VERSION = 330, 338, 339, 347, 42113, 50706

# by the number of a type: NumPy's type of its values. A rational is two of them.
TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4", 11: "f4", 12: "f8"}
TYPES |= {13: "u4", 16: "u8", 17: "i8", 18: "u8"}
RATIONALS = (5, 10)


@dataclass(frozen=True)
class Tag:
    """Where a page's tag has its values."""

    type: int  # a key of TYPES
    count: int  # values
    offset: int  # bytes from the file's start


@dataclass(frozen=True)
class Page:
    """One page of a TIFF."""

    content: bytes  # of the file
    order: str  # of the bytes of its numbers: "<" or ">"
    is_big: bool  # BigTIFF
    tags: Mapping[int, Tag]

    def __contains__(self, tag: int) -> bool:
        return tag in self.tags

    def values(self, tag: int) -> np.ndarray:
        """The values of a tag in the byte order of the file; an empty array if the page has no such tag.

        Raises:
            ImageError: they lie beyond the file's end.
        """
        if tag not in self.tags:
            return np.zeros(0, np.uint8)
        found = self.tags[tag]
        count = found.count * (2 if found.type in RATIONALS else 1)
        dtype = np.dtype(self.order + TYPES[found.type])
        if found.offset + count * dtype.itemsize > len(self.content):
            raise ImageError(f"the TIFF is damaged: its tag {tag} has {count} values, more than the file's bytes hold")
        return np.frombuffer(self.content, dtype, count, found.offset)

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag as a whole number; the default if the page has no such tag."""
        values = self.values(tag)
        return default if len(values) == 0 or values.dtype.kind == "f" else int(values[0])

    def text(self, tag: int) -> str:
        """The text of a tag; "" if the page has no such tag."""
        return self.values(tag)[:1000].tobytes().decode("latin-1").rstrip("\0 ")


def pages(content: bytes) -> Iterator[Page]:
    """The pages of a TIFF in order, at most MOST_PAGES. After each come the pages below it, such as a raw photograph's.

    Args:
        content: of a file for which `signatures.is_tiff` holds.

    Raises:
        ImageError: the list of pages leads out of the file.
    """
    order = "<" if content.startswith(b"II") else ">"
    is_big = content.startswith(BIG_TIFF)
    start = 8 if is_big else 4
    waiting = [_number(content, order + ("Q" if is_big else "I"), start)]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_PAGES:
        offset = waiting.pop()
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        page, next_offset = _page(content, order, is_big, offset)
        below = [int(each) for each in page.values(SUB_PAGES)[:MOST_PAGES] if page.values(SUB_PAGES).dtype.kind == "u"]
        waiting += [next_offset, *reversed(below)]
        yield page


def _page(content: bytes, order: str, is_big: bool, offset: int) -> tuple[Page, int]:
    """The page at an offset, and the offset of the next one, or 0."""
    count_format, entry, width = ("Q", "HHQ8s", 20) if is_big else ("H", "HHI4s", 12)
    count = _number(content, order + count_format, offset)
    start = offset + struct.calcsize(order + count_format)
    end = start + count * width
    if count > MOST_TAGS or end > len(content):
        raise ImageError(f"the TIFF is damaged: a page of {count} tags at byte {offset} of {len(content)}")
    tags: dict[int, Tag] = {}
    for number, (tag, type, values, inline) in enumerate(struct.iter_unpack(order + entry, content[start:end])):
        if type in TYPES and tag not in tags:
            size = np.dtype(TYPES[type]).itemsize * values * (2 if type in RATIONALS else 1)
            value_at = start + number * width + width - len(inline)
            if size > len(inline):
                value_at = int.from_bytes(inline, "little" if order == "<" else "big")
            tags[tag] = Tag(type, values, value_at)
    next_format = order + ("Q" if is_big else "I")
    is_last = end + struct.calcsize(next_format) > len(content)  # some writers leave the end of the list out
    return Page(content, order, is_big, tags), 0 if is_last else _number(content, next_format, end)


def _number(content: bytes, format: str, offset: int) -> int:
    if offset + struct.calcsize(format) > len(content):
        raise ImageError(f"the TIFF is damaged: a page would start at byte {offset} of {len(content)}")
    return int(struct.unpack_from(format, content, offset)[0])
