"""Only an orientation is read of EXIF, as Pillow reads it."""

import struct

import pytest
from PIL import Image
from tensormask_server.images.exif import LARGEST_EXIF, exif_of, orientation_in

ORIENTATION = 0x0112


def made(*tags: tuple[int, int, int, bytes], order: str = ">", behind: bytes = b"", start: int = 8) -> bytes:
    """EXIF of tags: number, type, count, and the 4 bytes of the value or of its place."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", start)
    entries = b"".join(struct.pack(f"{order}HHI4s", *tag) for tag in tags)
    return head.ljust(start, b"\0") + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + behind


def as_pillow(exif: bytes) -> object:
    read = Image.Exif()
    read.load(exif)
    return read.get(ORIENTATION)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("type", "format"), [(3, "H"), (4, "I")])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
@pytest.mark.parametrize("start", [8, 50_000])
def test_an_orientation_is_read_as_pillow_reads_it(
    orientation: int, order: str, type: int, format: str, prefix: bytes, start: int
) -> None:
    value = struct.pack(order + format, orientation).ljust(4, b"\0")
    others = [(0x010E, 2, 4, b"abc\0"), (0x0128, 3, 1, b"\0\2\0\2")]
    exif = prefix + made(others[0], (ORIENTATION, type, 1, value), others[1], order=order, start=start)
    assert orientation_in(exif) == as_pillow(exif) == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_written_is_read_by_pillow(orientation: int) -> None:
    assert as_pillow(exif_of(orientation)) == orientation_in(exif_of(orientation)) == orientation
    assert len(exif_of(orientation)) == 32


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_number_that_is_no_orientation_turns_nothing(value: int) -> None:
    assert orientation_in(made((ORIENTATION, 3, 1, struct.pack(">HH", value, 0)))) == 1
    assert orientation_in(made((ORIENTATION, 4, 1, struct.pack(">I", value << 16)))) == 1


@pytest.mark.parametrize(
    ("type", "count"), [(5, 1), (5, 100), (3, 0), (3, 2), (3, 0xFFFFFFFF), (2, 2), (7, 4), (99, 1)]
)
def test_an_orientation_of_another_kind_turns_nothing(type: int, count: int) -> None:
    assert orientation_in(made((ORIENTATION, type, count, struct.pack(">HH", 6, 0)), behind=bytes(800))) == 1


def test_a_damaged_tag_before_it_costs_nothing() -> None:
    beyond = (0x010E, 2, 1000, struct.pack(">I", 1 << 30))
    assert orientation_in(made(beyond, (ORIENTATION, 3, 1, struct.pack(">HH", 6, 0)))) == 6


def test_exif_that_is_cut_short_turns_nothing_or_is_read() -> None:
    whole = b"Exif\0\0" + made((0x010E, 2, 4, b"abc\0"), (ORIENTATION, 3, 1, struct.pack(">HH", 6, 0)))
    read = [orientation_in(whole[:length]) for length in range(len(whole) + 1)]
    entry_ends = whole.index(struct.pack(">HHI", ORIENTATION, 3, 1)) + 12
    assert read == [1] * entry_ends + [6] * (len(whole) + 1 - entry_ends)


def test_what_lies_beyond_a_megabyte_is_not_read() -> None:
    tag = (ORIENTATION, 3, 1, struct.pack(">HH", 6, 0))
    assert orientation_in(made(tag, start=LARGEST_EXIF - 100)) == 6
    assert orientation_in(made(tag, start=LARGEST_EXIF)) == 1
