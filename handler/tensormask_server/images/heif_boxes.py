"""Reads the boxes of HEIF, the container of AVIF and HEIC: the coded images of a file, and their bytes."""

import math
import struct
from dataclasses import dataclass

from tensormask_server.images.errors import ImageError

MOST_BOXES = 20_000  # in one box; a photograph of 48 megapixels has about 200 tiles, and each is an item
MOST_ENTRIES = 20_000  # of items' properties, and of references to items; decoders search through all items for each
MOST_ITEMS = 4000  # that the boxes of a file name together
METADATA = (b"Exif", b"mime")  # types of items; mime: XMP
UNKNOWN = b"skip"  # a type that decoders leave alone
ANIMATION, MOVIE = b"avis", b"moov"  # the brand of an animation, and its box
ONLY_ONCE = (b"meta", b"iinf", b"iloc", b"idat", b"iprp", b"ipco", b"iref")
IN_IDAT = 1  # iloc's construction method for items that lie in the box idat

Place = tuple[int, int]  # of a box's content in the file: start and end


@dataclass(frozen=True)
class Item:
    """One coded image, or other data, of a file."""

    type: str  # av01: AV1, hvc1: HEVC, grid: tiles that are other items, Exif, …; "" if it isn't known
    content: bytes
    pixels: int  # of the size that its box ispe declares; 0 without one
    parts: tuple[int, ...]  # numbers of the items that it is made of, such as a grid's tiles; one can stand there twice


def items(content: bytes) -> dict[int, Item]:
    """The items of a file by their numbers.

    Raises:
        ImageError: the file is damaged, or has a box twice that may stand there once. Or it has no still image.
    """
    try:
        outer = _boxes(content, (0, len(content)))
        if b"meta" not in outer and any(name == b"moov" for name, _ in _all_boxes(content, (0, len(content)))):
            raise ImageError("the image is an animation without a still image", "one of its frames as an image")
        start, end = outer[b"meta"]
        inside = _boxes(content, (start + 4, end))  # version and flags have 4 bytes
        types = _types(content, inside[b"iinf"])
        places = _places(content[slice(*inside[b"iloc"])], inside.get(b"idat", (len(content), len(content))), content)
        numbers = types.keys() | places.keys()  # a decoder also makes an item of a number that only one box has
        pixels = _pixels(content, inside[b"iprp"], numbers)
        parts = _parts(content, inside[b"iref"], numbers) if b"iref" in inside else {}
    except (KeyError, IndexError, struct.error) as error:
        raise _damaged() from error
    if len(numbers) > MOST_ITEMS:
        raise ImageError(f"the image is made of {len(numbers)} items", f"at most {MOST_ITEMS}")
    if sum(stop - start for extents in places.values() for start, stop in extents) > 2 * len(content):
        raise ImageError("the image's file is damaged: the same bytes belong to many of its items")
    return {
        number: Item(
            types[number],
            b"".join(content[start:stop] for start, stop in places.get(number, [])),
            pixels.get(number, 0),
            parts.get(number, ()),
        )
        for number in types
    }


def without_metadata(content: bytes) -> bytes:
    """The same file without a type for the items of EXIF and XMP, so that decoders don't read them.

    Args:
        content: a file for which `items` raises nothing.
    """
    meta = _boxes(content, (0, len(content)))[b"meta"]
    start, end = _boxes(content, (meta[0] + 4, meta[1]))[b"iinf"]
    listed = content[start:end]
    for type in METADATA:
        listed = listed.replace(type, UNKNOWN)
    return b"".join([memoryview(content)[:start], listed, memoryview(content)[end:]])


def without_movie(content: bytes) -> bytes:
    """The same AVIF as that of a still image, so that decoders don't read the animation that may be in it.

    Args:
        content: a file for which `items` raises nothing.
    """
    still = bytearray(content)
    for name, (start, end) in _all_boxes(content, (0, len(content))):
        if name == b"ftyp":
            # by its first brand, Pillow decodes the still image of an animation too
            brands = [b"avif", *(content[at : at + 4] for at in range(start + 4, end, 4))]
            still[start:end] = b"".join(b"mif1" if brand == ANIMATION else brand for brand in brands)[: end - start]
        elif name == MOVIE:
            at = start - 4 if content[start - 4 : start] == name else start - 12  # a size of 64 bits may be between
            still[at : at + 4] = UNKNOWN
    return bytes(still)


def _damaged() -> ImageError:
    return ImageError("the image's file is damaged: its boxes can't be read")


def _boxes(content: bytes, place: Place) -> dict[bytes, Place]:
    """The boxes in a part of a file that are read here, by name; each may stand there once."""
    found: dict[bytes, Place] = {}
    for name, inside in _all_boxes(content, place):
        if name in ONLY_ONCE:
            if name in found:
                raise _damaged()
            found[name] = inside
    return found


def _all_boxes(content: bytes, place: Place) -> list[tuple[bytes, Place]]:
    found: list[tuple[bytes, Place]] = []
    start, end = place
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", content, start)
        header = 8
        if size == 1:
            (size,), header = struct.unpack_from(">Q", content, start + 8), 16
        size = size or end - start  # 0: to the end
        if size < header or start + size > end or len(found) == MOST_BOXES:
            raise _damaged()
        found.append((name, (start + header, start + size)))
        start += size
    return found


def _types(content: bytes, place: Place) -> dict[int, str]:
    """The types of items by their numbers, from the box iinf."""
    version = content[place[0]]
    types: dict[int, str] = {}
    for _, (start, _) in _all_boxes(content, (place[0] + (6 if version == 0 else 8), place[1])):
        wide = content[start] >= 3
        number, _, name = struct.unpack_from(">IH4s" if wide else ">HH4s", content, start + 4)
        if number in types:
            raise _damaged()
        types[number] = name.decode("latin-1")
    return types


def _places(iloc: bytes, idat: Place, content: bytes) -> dict[int, list[Place]]:
    """The places of items in the file by their numbers, from the box iloc."""
    version = iloc[0]
    offset_size, length_size, base_size, index_size = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15
    wide = 4 if version >= 2 else 2
    fields = _Fields(iloc, 6)
    found: dict[int, list[Place]] = {}
    count = 0
    for _ in range(fields.number(wide)):
        item = fields.number(wide)
        method = fields.number(2) & 15 if version else 0
        fields.number(2)  # in which file: this one
        base = fields.number(base_size)
        first, last = idat if method == IN_IDAT else (0, len(content))
        extents: list[Place] = []
        for _ in range(fields.number(2)):
            fields.number(index_size if version else 0)
            start = first + base + fields.number(offset_size)
            length = fields.number(length_size) or max(0, last - start)
            if method > IN_IDAT or start + length > last:
                raise _damaged()
            extents.append((start, start + length))
        count += len(extents)
        if item in found or max(count, len(found)) > MOST_BOXES:
            raise _damaged()
        found[item] = extents
    return found


def _pixels(content: bytes, iprp: Place, numbers: set[int]) -> dict[int, int]:
    """The sizes of items in pixels by their numbers: the boxes ispe, which the boxes ipma give to items.

    Args:
        numbers: gets those of all items that have properties.
    """
    ipco = _boxes(content, iprp)[b"ipco"]
    sizes = [
        math.prod(struct.unpack_from(">II", content, start + 4)) if name == b"ispe" else 0
        for name, (start, _) in _all_boxes(content, ipco)
    ]
    found: dict[int, int] = {}
    entries = 0
    for name, place in _all_boxes(content, iprp):
        if name != b"ipma":
            continue
        box = content[slice(*place)]
        wide, is_long = 4 if box[0] >= 1 else 2, box[3] & 1
        fields = _Fields(box, 4)
        for _ in range(fields.number(4)):
            item = fields.number(wide)
            numbers.add(item)
            properties = fields.number(1)
            entries += 1 + properties
            if entries > MOST_ENTRIES:
                raise _damaged()
            for _ in range(properties):
                index = fields.number(2) & 0x7FFF if is_long else fields.number(1) & 0x7F
                if 1 <= index <= len(sizes):
                    found[item] = max(found.get(item, 0), sizes[index - 1])
    return found


def _parts(content: bytes, iref: Place, numbers: set[int]) -> dict[int, tuple[int, ...]]:
    """From the number of an item to those of the items that it is made of: the references dimg.

    Args:
        numbers: gets those of all items in references of any type.
    """
    wide = 4 if content[iref[0]] >= 1 else 2
    found: dict[int, list[int]] = {}
    entries = 0
    for name, place in _all_boxes(content, (iref[0] + 4, iref[1])):
        fields = _Fields(content[slice(*place)], 0)
        item, references = fields.number(wide), fields.number(2)
        entries += references
        if entries > MOST_ENTRIES:
            raise _damaged()
        referenced = [fields.number(wide) for _ in range(references)]
        numbers.update((item, *referenced))
        if name == b"dimg":
            found.setdefault(item, []).extend(referenced)
    return {item: tuple(parts) for item, parts in found.items()}


class _Fields:
    """Numbers that stand one after another in a box."""

    def __init__(self, box: bytes, position: int):
        self._box = box
        self._position = position

    def number(self, size: int) -> int:
        self._position += size
        if self._position > len(self._box):
            raise _damaged()
        return int.from_bytes(self._box[self._position - size : self._position], "big")
