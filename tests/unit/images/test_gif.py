"""A GIF's comments and other extensions go before Pillow reads it, and its transparency stays."""

import io

import numpy as np
import pytest
from PIL import Image
from tensormask_server.images.encoded import EncodedImage, read_image
from tensormask_server.images.errors import ImageError
from tensormask_server.images.gif import MOST_SUB_BLOCKS, only_pixels

COMMENT = b"!\xfe\x04text\0"
CONTROL = b"!\xf9\x04"
NOT_PIXELS = {
    "a comment": COMMENT,
    "a comment in parts": b"!\xfe\x01a\xff" + bytes(255) + b"\x02bc\0",
    "an empty comment": b"!\xfe\0",
    "a number of loops": b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0",
    "a profile": b"!\xff\x0bICCRGBG1012\3abc\0",
    "a text over the image": b"!\1\x0c" + bytes(12) + b"\4text\0",
    "an unknown extension": b"!\x42\1,\0",
    "zeros": bytes(1000),
    "an empty control": b"!\xf9\0",
}


def saved(**options: object) -> bytes:
    """An image of a palette with 64 colours."""
    values = np.random.default_rng(0).integers(0, 64, (6, 8), np.uint8)
    values[0, :3] = 5
    image = Image.fromarray(values).convert("P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 192).tolist())
    file = io.BytesIO()
    image.save(file, "GIF", **options)
    return file.getvalue()


def as_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        layer = image.convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def first_block(gif: bytes) -> int:
    return 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 128 else 0)


@pytest.mark.parametrize("options", [{}, {"transparency": 5}, {"interlace": 1}, {"transparency": 5, "disposal": 2}])
@pytest.mark.parametrize("name", NOT_PIXELS)
def test_what_is_not_pixels_goes_and_transparency_stays(name: str, options: dict[str, object]) -> None:
    whole = saved(**options)
    assert (CONTROL in whole) == ("transparency" in options)
    assert only_pixels(whole) == whole
    start = first_block(whole)
    for position in {start, whole.index(b",", start)}:
        content = whole[:position] + NOT_PIXELS[name] + whole[position:]
        assert only_pixels(content) == whole
        np.testing.assert_array_equal(read_image(io.BytesIO(content)), as_pillow(whole))


def test_of_an_animation_the_first_image_is_read() -> None:
    others = [Image.new("P", (8, 6), number) for number in range(3)]
    whole = saved(save_all=True, append_images=others, loop=0, comment=b"text", duration=50)
    np.testing.assert_array_equal(read_image(io.BytesIO(whole)), as_pillow(whole))


@pytest.mark.parametrize("length", range(6, 240, 3))
def test_a_file_that_is_cut_is_read_as_before_or_an_error(length: int) -> None:
    whole = saved(transparency=5)
    start = first_block(whole)
    content = (whole[:start] + COMMENT + whole[start:])[:length]
    with pytest.raises(ImageError):
        EncodedImage(content).decoded()


def test_extensions_without_end_are_refused() -> None:
    whole = saved()
    start = first_block(whole)
    extensions = b"!\xfe\1a\0" * (MOST_SUB_BLOCKS // 2)
    np.testing.assert_array_equal(read_image(io.BytesIO(whole[:start] + extensions + whole[start:])), as_pillow(whole))
    with pytest.raises(ImageError, match=f"more than {MOST_SUB_BLOCKS} parts"):
        EncodedImage(whole[:start] + extensions + COMMENT + whole[start:])
