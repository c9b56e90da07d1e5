"""However much a small image has beside its pixels, Pillow gets little of it, and little memory is taken."""

import io
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.images.tiff_blocks import MOST_VALUES

from tests.fuzz import images

# a hundredth to a tenth of what the attacks of tests/fuzz/large_bodies.py send
READABLE: dict[str, Callable[[], bytes]] = {
    "JPEG with EXIF in many segments": lambda: images.jpeg_of_many_exifs(300, 3300),
    "JPEG with padding": lambda: images.jpeg_of_padding(1_000_000),
    "WebP with EXIF of many fractions": lambda: images.webp_of_rationals(125_000),
    "GIF with a comment in some parts": lambda: images.gif_of_comment(90_000),
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "a JPEG with more than 262144 bytes of tables": lambda: images.jpeg_of_many_tables(16_000),
    "a WebP of more than 100000 chunks": lambda: images.webp_of_many_chunks(110_000),
    "a GIF with more than 100000 parts of comments": lambda: images.gif_of_comment(110_000),
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Each file that Pillow opens."""
    files: list[bytes] = []
    original = Image.open

    def recording(file: io.BytesIO, *args: object, **options: object) -> Image.Image:
        files.append(file.getvalue())
        return original(file, *args, **options)

    monkeypatch.setattr(Image, "open", recording)
    return files


def most_memory(read: Callable[[], object]) -> int:
    """The most bytes that are taken at once."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", READABLE)
def test_pillow_gets_only_the_pixels(name: str, given: list[bytes]) -> None:
    content = READABLE[name]()
    EncodedImage(content).decoded()
    assert given
    assert max(map(len, given)) < 10_000


@pytest.mark.parametrize("name", READABLE)
def test_it_takes_little_memory(name: str) -> None:
    content = READABLE[name]()
    assert most_memory(lambda: EncodedImage(content).decoded()) < 5 * len(content)


@pytest.mark.parametrize("found", REFUSED)
def test_what_no_writer_makes_is_refused(found: str, given: list[bytes]) -> None:
    with pytest.raises(ImageError, match=found):
        EncodedImage(REFUSED[found]())
    assert not given


def test_the_exif_of_an_avif_is_not_read() -> None:
    content = images.avif_of_rationals(125_000)
    with pytest.warns(UserWarning, match="125000"), Image.open(io.BytesIO(content)):
        pass  # Pillow reads it
    assert most_memory(lambda: EncodedImage(content).decoded()) < 8 * len(content)


def test_few_values_of_a_tag_of_a_tiff_are_read(given: list[bytes]) -> None:
    pixels = EncodedImage(images.tiff_of_many_depths(1_000_000)).decoded().pixels
    np.testing.assert_array_equal(pixels, np.zeros((16, 16, 3)))
    assert max(map(len, given)) < 2 * MOST_VALUES + 1000


def test_the_rows_of_a_bmp_end(given: list[bytes]) -> None:
    with pytest.raises(ImageError, match="not enough image data"):
        EncodedImage(images.bmp_of_empty_rows(500_000)).decoded()
    assert max(map(len, given)) < 300_000
