"""A PNG's broken or large parts that aren't pixels cost nothing, and its pixels and transparency are kept."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from tensormask_server.images.encoded import EncodedImage, read_image
from tensormask_server.images.errors import ImageError
from tensormask_server.images.options import ImageOptions
from tensormask_server.images.png import MOST_CHUNKS, only_pixels

from tests.png_chunks import START, chunk, png

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 8, 3), np.uint8)
RGB_16 = RNG.integers(0, 1 << 16, (6, 8, 3), np.uint16)
TURNED_BY_6 = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
ZEROS = zlib.compress(bytes(100_000_000), 9)  # 100 kB


def read(content: bytes, stretch: str = "auto") -> np.ndarray:
    return read_image(io.BytesIO(content), ImageOptions(stretch))


def as_opencv(content: bytes) -> np.ndarray:
    """uint8 (H, W, 3), RGB, turned as OpenCV turns it."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1]


NOT_PIXELS = {
    "a text with a wrong checksum": chunk(b"tEXt", b"Comment\0text", crc=1),
    "a text that isn't Latin-1 or UTF-8": chunk(b"iTXt", b"Comment\0\0\0\0\0\xff\xfe"),
    "a compressed text of 100 MB": chunk(b"zTXt", b"Comment\0\0" + ZEROS),
    "a compressed international text of 100 MB": chunk(b"iTXt", b"Comment\0\1\0\0\0" + ZEROS),
    "a text of 3 MB": chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
    "a profile of 100 MB": chunk(b"iCCP", b"profile\0\0" + ZEROS),
    "a profile of another compression": chunk(b"iCCP", b"profile\0\7data"),
    "a profile that is empty": chunk(b"iCCP", b""),
    "EXIF that is none": chunk(b"eXIf", b"\0\x08\0\2\1\x12\0\3\0\0"),
    "EXIF with a wrong checksum": chunk(b"eXIf", TURNED_BY_6, crc=1),
    "EXIF cut short": chunk(b"eXIf", TURNED_BY_6[:12]),
    "a raw profile with an orientation": chunk(
        b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(TURNED_BY_6), TURNED_BY_6.hex().encode())
    ),
    "a raw profile that is none": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 10\nxyz"),
    "XMP with an orientation": chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<a tiff:Orientation="6"/>'),
    "a resolution that is short": chunk(b"pHYs", b"\0\0"),
    "a gamma that is short": chunk(b"gAMA", b"\0"),
    "a transparent colour that is short": chunk(b"tRNS", b"\0"),
    "an unknown part": chunk(b"prVt", b"private"),
}


@pytest.mark.parametrize("name", NOT_PIXELS)
@pytest.mark.parametrize("is_before", [True, False])
def test_what_is_not_pixels_is_ignored_as_opencv_does(name: str, is_before: bool) -> None:
    part = NOT_PIXELS[name]
    content = png(RGB, part) if is_before else png(RGB, after=part)
    np.testing.assert_array_equal(read(content), RGB)
    np.testing.assert_array_equal(as_opencv(content), RGB)


def test_a_bomb_that_is_not_pixels_is_not_unpacked() -> None:
    content = png(RGB, chunk(b"iCCP", b"profile\0\0" + ZEROS), chunk(b"zTXt", b"Comment\0\0" + ZEROS))
    tracemalloc.start()
    try:
        read(content)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("is_before", [True, False])
def test_valid_exif_turns_as_opencv_does(is_before: bool) -> None:
    part = chunk(b"eXIf", TURNED_BY_6)
    content = png(RGB, part) if is_before else png(RGB, after=part)
    np.testing.assert_array_equal(read(content), np.rot90(RGB, -1))
    if is_before:  # OpenCV doesn't look behind the pixels
        np.testing.assert_array_equal(as_opencv(content), np.rot90(RGB, -1))


def test_damage_of_the_pixels_is_still_an_error() -> None:
    whole = png(RGB)
    damaged = bytearray(whole)
    damaged[whole.index(b"IDAT") + 12] ^= 0xFF
    first_transparency = START + chunk(b"tRNS", b"\0\0")
    for content in (bytes(damaged), whole[: whole.index(b"IDAT") + 40], whole[:20], START, first_transparency):
        with pytest.raises(ImageError):
            read(content)


def test_chunks_without_end_are_refused() -> None:
    content = png(RGB, *[chunk(b"tEXt", b"")] * MOST_CHUNKS)
    with pytest.raises(ImageError, match=f"more than {MOST_CHUNKS} chunks"):
        read(content)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("extras", [{}, {"transparency": 0}])
def test_pixels_of_every_mode_are_kept(mode: str, extras: dict[str, int]) -> None:
    drawn = Image.fromarray(RGB).convert(mode)
    options = {name: (1, 2, 3) if mode == "RGB" else value for name, value in extras.items() if mode[-1] != "A"}
    file = io.BytesIO()
    drawn.save(file, "PNG", **options)
    layer = Image.open(io.BytesIO(file.getvalue())).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    np.testing.assert_array_equal(read(file.getvalue()), white)


def test_interlaced_pixels_are_kept() -> None:
    """An interlaced image of one pixel has only the first pass, and of 4×4 pixels it has five."""
    header = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 1)
    values = np.arange(16, dtype=np.uint8).reshape(4, 4)
    passes = [values[0::8, 0::8], values[0::4, 2::4], values[2::4, 0::2], values[0::2, 1::2], values[1::2]]
    passes.insert(1, values[0::8, 4::8])
    passes.insert(2, values[4::8, 0::4])
    rows = b"".join(b"\0" + row.tobytes() for each in passes if each.size for row in each)
    content = START + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(as_opencv(content)[..., 0], values)
    np.testing.assert_array_equal(read(content)[..., 0], values)


@pytest.mark.parametrize("frames", [1, 3])
def test_of_an_animation_the_first_image_is_read(frames: int) -> None:
    file = io.BytesIO()
    others = [Image.new("RGB", (8, 6), (number, 0, 0)) for number in range(frames - 1)]
    Image.fromarray(RGB).save(file, "PNG", save_all=True, append_images=others)
    np.testing.assert_array_equal(read(file.getvalue()), RGB)


# --- 16 bits a channel ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_divided_by_256(channels: int) -> None:
    values = RGB_16[..., :channels]
    np.testing.assert_array_equal(read(png(values)), np.broadcast_to(values >> 8, RGB.shape))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("stretch", ["auto", "min-max"])
def test_12_bits_in_16_are_stretched_with_all_their_bits(channels: int, stretch: str) -> None:
    values = np.concatenate([RGB_16 >> 4, np.full((6, 8, 1), 65535, np.uint16)], axis=2)
    values = values[..., [0, 3]] if channels == 2 else values[..., :channels]
    colours = values[..., : 1 if channels == 2 else 3]
    decoded = EncodedImage(png(values)).decoded(ImageOptions(stretch))
    low, high = (0, colours.max()) if stretch == "auto" else (colours.min(), colours.max())
    expected = np.rint((colours.astype(float) - low) * (255 / (high - low)))
    np.testing.assert_array_equal(decoded.pixels, np.broadcast_to(expected, RGB.shape))
    assert decoded.notes == (f"values from {low} to {high} were stretched to 0 to 255 (stretch={stretch})",)


def test_opencv_reads_the_same_16_bits() -> None:
    values = cv2.imdecode(np.frombuffer(png(RGB_16 >> 4), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    expected = np.rint(values * (255 / values.max()))
    np.testing.assert_array_equal(read(png(RGB_16 >> 4)), expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_pixels_of_16_bits_are_white(channels: int) -> None:
    values = np.concatenate([RGB_16, np.full((6, 8, 1), 65535, np.uint16)], axis=2)
    values[0, 0, 3] = 0
    values = values[..., [0, 3]] if channels == 2 else values
    pixels = read(png(values))
    np.testing.assert_array_equal(pixels[0, 0], [255] * 3)
    np.testing.assert_array_equal(pixels[1], np.broadcast_to(values[1, :, : 1 if channels == 2 else 3] >> 8, (8, 3)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stretch", ["none", "min-max"])
def test_a_transparent_colour_of_16_bits_is_compared_with_all_its_bits(channels: int, stretch: str) -> None:
    values = RGB_16[..., :channels].copy()
    values[0, 1] = values[0, 0] ^ 1  # the same upper bits
    key = chunk(b"tRNS", values[0, 0].astype(">u2").tobytes())
    opaque, keyed = read(png(values), stretch), read(png(values, key), stretch)
    np.testing.assert_array_equal(keyed[0, 0], [255] * 3)
    opaque[0, 0] = 255
    np.testing.assert_array_equal(keyed, opaque)


def test_the_filter_leaves_a_usual_file_as_it_is() -> None:
    assert only_pixels(png(RGB)) == png(RGB)
