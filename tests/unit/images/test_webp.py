"""A WebP's profile, XMP and unknown chunks go before Pillow reads it. Its orientation stays."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from tensormask_server.images.encoded import EncodedImage, read_image
from tensormask_server.images.errors import ImageError
from tensormask_server.images.webp import only_pixels

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
METADATA = {"icc_profile": b"profile", "xmp": b"<xmp/>"}


def saved(mode: str = "RGB", **options: object) -> bytes:
    image = Image.fromarray(RGB).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(RGB[..., 0]))
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112], made[0x010E] = orientation, "a description"
    return made.tobytes()


def with_chunks(webp: bytes, *added: bytes) -> bytes:
    content = webp[8:] + b"".join(added)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def chunk_names(webp: bytes) -> list[bytes]:
    names, position = [], 12
    while position < len(webp):
        name, size = struct.unpack_from("<4sI", webp, position)
        names.append(name)
        position += 8 + size + size % 2
    assert position == len(webp) == 8 + int.from_bytes(webp[4:8], "little")
    return names


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"save_all": True, "lossless": True}])
def test_pixels_stay(mode: str, options: dict[str, object]) -> None:
    plain = saved(mode, **options)
    assert only_pixels(plain) == plain
    if "save_all" in options:
        options = {**options, "append_images": [Image.new(mode, (8, 6), "red")]}
        plain = saved(mode, **options)
    content = with_chunks(saved(mode, **options, **METADATA), b"abcd\3\0\0\0abc\0")
    assert not {b"ICCP", b"XMP ", b"abcd"} & set(chunk_names(only_pixels(content)))
    np.testing.assert_array_equal(read_image(io.BytesIO(content)), read_image(io.BytesIO(plain)))
    with Image.open(io.BytesIO(content)) as whole, Image.open(io.BytesIO(only_pixels(content))) as reduced:
        assert whole.mode == reduced.mode
        np.testing.assert_array_equal(np.array(whole), np.array(reduced))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_first_exif_stays(orientation: int) -> None:
    content = saved(lossless=True, exif=exif(orientation), **METADATA)
    second = exif(3).removeprefix(b"Exif\0\0")
    content = with_chunks(content, b"EXIF" + struct.pack("<I", len(second)) + second + bytes(len(second) % 2))
    reduced = only_pixels(content)
    assert chunk_names(reduced) == [b"VP8X", b"VP8L", b"EXIF"]
    with Image.open(io.BytesIO(content)) as old, Image.open(io.BytesIO(reduced)) as new:
        assert old.getexif()[0x0112] == new.getexif()[0x0112] == orientation
    assert read_image(io.BytesIO(content)).shape == ((8, 6, 3) if orientation >= 5 else (6, 8, 3))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_file_that_is_cut_in_its_pixels_is_an_error(mode: str) -> None:
    whole = saved(mode, quality=90)
    for length in (12, 20, 25, 40, len(whole) // 2, len(whole) - 2):
        with pytest.raises(ImageError):
            EncodedImage(whole[:length]).decoded()


def test_another_riff_is_no_webp() -> None:
    content = b"RIFF" + struct.pack("<I", 100) + b"WAVEfmt " + bytes(100)
    assert only_pixels(content) == content
    with pytest.raises(ImageError):
        EncodedImage(content)
