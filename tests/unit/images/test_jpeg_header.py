"""What isn't pixels goes before Pillow reads a JPEG. Its colours and its orientation stay."""

import io
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from PIL import Image
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.images.jpeg import segments
from tensormask_server.images.jpeg_header import LONG_PADDING, only_pixels

RGB = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
EXIF = 0xE1


def saved(mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def exif(orientation: int, start: int = 8) -> bytes:
    """EXIF whose tags start at a byte behind its prefix."""
    head = b"Exif\0\0" + struct.pack(">4sI", b"MM\0*", start)
    return head.ljust(6 + start, b"\0") + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def with_header(jpeg: bytes, *parts: bytes) -> bytes:
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def as_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))


def markers(content: bytes) -> Iterator[int]:
    return (each.marker for each in segments(content))


NOT_PIXELS = {
    "a comment": segment(0xFE, b"text"),
    "a profile": segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(500)),
    "half a profile": segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(500)),
    "XMP that turns it": segment(EXIF, b'http://ns.adobe.com/xap/1.0/\0<a tiff:Orientation="6"/>'),
    "resources of Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM" + bytes(50)),
    "other images": segment(0xE2, b"MPF\0II*\0" + bytes(50)),
    "a thumbnail in an extension of JFIF": segment(0xE0, b"JFXX\0\x13\1\1" + bytes(3)),
    "EXIF that is none": segment(EXIF, b"Exif\0\0text"),
    "padding": b"\xff" * 1000,
    "zeros between markers": bytes(1000),
    "restart markers": b"\xff\xd0" * 100,
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("name", NOT_PIXELS)
def test_what_is_not_pixels_goes(name: str, mode: str) -> None:
    whole = saved(mode)
    assert only_pixels(with_header(whole, NOT_PIXELS[name])) == whole
    first_scan = whole.index(b"\xff\xda")
    assert only_pixels(whole[:first_scan] + NOT_PIXELS[name] + whole[first_scan:]) == whole


@pytest.mark.parametrize(
    "options",
    [{}, {"keep_rgb": True}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}, {"restart_marker_rows": 1}],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("without", [b"", b"JFIF", b"Adobe"])
def test_colours_stay(mode: str, options: dict[str, object], without: bytes) -> None:
    """JFIF and Adobe say how channels become colours."""
    whole = saved(mode, **options)
    if without and without in whole:
        whole = whole.replace(without, b"other")
    content = with_header(whole, NOT_PIXELS["a profile"])
    np.testing.assert_array_equal(EncodedImage(content).decoded().pixels, as_pillow(content))
    np.testing.assert_array_equal(as_pillow(only_pixels(content)), as_pillow(content))
    if not options.get("progressive"):
        large = EncodedImage(content).large()
        np.testing.assert_array_equal(large.region(0, 0, *RGB.shape[:2]), as_pillow(content))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("others", [[], [segment(EXIF, exif(3))], [segment(EXIF, bytes(60_000)), segment(0xFE, b"a")]])
def test_the_orientation_of_the_first_exif_stays(orientation: int, others: list[bytes]) -> None:
    content = with_header(saved(), segment(EXIF, exif(orientation)), *others)
    reduced = only_pixels(content)
    assert sum(marker == EXIF for marker in markers(reduced)) == (orientation > 1)
    with Image.open(io.BytesIO(content)) as old, Image.open(io.BytesIO(reduced)) as new:
        assert new.getexif().get(0x0112, 1) == old.getexif()[0x0112] == orientation
    read = EncodedImage(content).decoded().pixels
    turned = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_allclose(read.astype(int), turned.astype(int), atol=3)
    large = EncodedImage(content).large()
    np.testing.assert_array_equal(large.region(0, 0, *read.shape[:2]), read)


def test_exif_in_several_segments_is_joined_as_pillow_joins_it() -> None:
    """Its tags are in the third one."""
    whole = exif(6, start=150_000)[6:]
    parts = [segment(EXIF, b"Exif\0\0" + whole[start : start + 65_000]) for start in range(0, len(whole), 65_000)]
    content = with_header(saved(), *parts)
    assert len(parts) == 3
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x0112] == 6
    assert EncodedImage(content).decoded().pixels.shape == (30, 40, 3)


def test_long_padding_between_scans_goes() -> None:
    whole = saved(progressive=True)
    second = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 2)
    padding = 3 * LONG_PADDING
    content = whole[:second] + padding + whole[second:-2] + padding + whole[-2:]
    assert only_pixels(content) == whole
    np.testing.assert_array_equal(EncodedImage(content).decoded().pixels, as_pillow(whole))


def test_segments_between_scans_and_what_follows_the_image_stay() -> None:
    whole = saved(progressive=True, comment=b"text")
    second = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 2)
    between = segment(0xE5, b"\xff" * 65_533)
    content = whole[:second] + between + whole[second:] + b"what phones append"
    assert only_pixels(content) == content.replace(segment(0xFE, b"text"), b"")
    np.testing.assert_array_equal(EncodedImage(content).decoded().pixels, as_pillow(whole))


def test_an_end_before_the_first_scan_hides_nothing() -> None:
    """Pillow goes on behind it, and libjpeg doesn't."""
    content = with_header(saved(), b"\xff\xd9", *[segment(EXIF, exif(6))] * 3)
    with pytest.raises(ImageError, match="without pixels"):
        EncodedImage(content)
