"""Makes HEIF files of given items, as phones write grids of tiles, from a coded image that exists."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Made:
    """An item of a file."""

    type: bytes
    content: bytes
    size: tuple[int, int]  # width and height, for ispe
    properties: tuple[bytes, ...] = ()  # whole boxes, such as hvcC and irot
    parts: tuple[int, ...] = ()  # the numbers of items that a grid is made of


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def whole_box(content: bytes, name: bytes) -> bytes:
    """The first box of a name in a file."""
    start = content.index(name) - 4
    return content[start : start + int.from_bytes(content[start : start + 4], "big")]


def with_box(content: bytes, path: Sequence[bytes], added: bytes) -> bytes:
    """A file with a further box at the end of a nested one. Places in the file aren't corrected."""
    changed, end = bytearray(content), 0
    for name in path:
        start = content.index(name) - 4
        size = int.from_bytes(content[start : start + 4], "big")
        changed[start : start + 4] = struct.pack(">I", size + len(added))
        end = start + size
    return bytes(changed[:end] + added + changed[end:])


def grid(columns: int, rows: int, width: int, height: int) -> bytes:
    """The content of an item of the type grid."""
    return struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)


def heif(brand: bytes, made: Mapping[int, Made], primary: int) -> bytes:
    """A file with all items in its box idat or mdat."""
    boxes: list[bytes] = []
    uses: dict[int, list[int]] = {}
    for number, item in made.items():
        for each in (box(b"ispe", struct.pack(">III", 0, *item.size)), *item.properties):
            if each not in boxes:
                boxes.append(each)
            uses.setdefault(number, []).append(boxes.index(each) + 1)
    iprp = box(b"ipco", b"".join(boxes)) + box(b"ipma", _uses(uses))
    entries = b"".join(
        box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, item.type) + b"\0") for number, item in made.items()
    )
    references = b"".join(
        box(b"dimg", struct.pack(f">HH{len(item.parts)}H", number, len(item.parts), *item.parts))
        for number, item in made.items()
        if item.parts
    )

    def meta(start: int) -> bytes:
        places, position = b"", start
        for number, item in made.items():
            places += struct.pack(">HHHII", number, 0, 1, position, len(item.content))
            position += len(item.content)
        return box(
            b"meta",
            bytes(4)
            + box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + box(b"pitm", struct.pack(">IH", 0, primary))
            + box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(made)) + places)
            + box(b"iinf", struct.pack(">IH", 0, len(made)) + entries)
            + box(b"iref", bytes(4) + references)
            + box(b"iprp", iprp),
        )

    start = box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
    data = b"".join(item.content for item in made.values())
    return start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", data)


def _uses(uses: Mapping[int, Sequence[int]]) -> bytes:
    lines = b"".join(struct.pack(">HB", number, len(each)) + bytes(each) for number, each in uses.items())
    return struct.pack(">II", 0, len(uses)) + lines
