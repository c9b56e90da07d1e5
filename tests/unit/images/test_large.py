"""Large images: their parts and their reduced copies are those of the image that is decoded as a whole."""

import io
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from tensormask_server.images import large
from tensormask_server.images import tiff as tiff_module
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError, TooManyPixelsError
from tensormask_server.images.large import LargeImage, all_of

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "L", "RGBA", "LA", "P", "1")}


def encoded(file_format: str, mode: str = "RGB", **options: object) -> bytes:
    image = Image.fromarray(PIXELS).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(PIXELS[..., 1]))
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def tiff(pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    content = io.BytesIO()
    tifffile.imwrite(content, pixels, photometric="rgb", **options)
    return content.getvalue()


def assert_alike(image: LargeImage, whole: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "AT_ONCE", 200)  # several strips
    assert image.shape == whole.shape
    np.testing.assert_array_equal(all_of(image), whole)
    np.testing.assert_array_equal(image.region(3, 5, 17, 11), whole[3:20, 5:16])
    for height, width in ((13, 19), (60, 70), (9, 13)):
        expected = Image.fromarray(whole).resize((width, height), Image.Resampling.BILINEAR)
        assert np.abs(image.resized(height, width) - np.array(expected, int)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("file_format", "mode"), [(name, mode) for name, modes in MODES.items() for mode in modes])
def test_a_jpeg_and_a_png(file_format: str, mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = EncodedImage(encoded(file_format, mode, exif=exif))
    assert_alike(file.large(), file.decoded().pixels, monkeypatch)


@pytest.mark.parametrize("options", [{"tile": (16, 16), "compression": "deflate"}, {"rowsperstrip": 5}])
def test_a_tiff(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    file = EncodedImage(tiff(**options))
    assert_alike(file.large(), file.decoded().pixels, monkeypatch)


@pytest.mark.parametrize("shape", [(13, 19), (17, 26), (50, 53), (37, 60)])
def test_pillow_resizes_a_wide_image_in_the_same_order(shape: tuple[int, int]) -> None:
    expected = Image.fromarray(PIXELS).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(EncodedImage(encoded("PNG")).large().resized(*shape), expected)


def grey_of_16_bits() -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) << 4).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (encoded("JPEG", progressive=True), "a large progressive JPEG"),
        (encoded("JPEG")[:-2], "without its end"),
        (grey_of_16_bits(), "more than 8 bits a channel"),
        (encoded("WEBP"), "only read as a whole"),
        (tiff(PIXELS.astype(np.uint16)), "can't be read one by one"),
        (encoded("JPEG")[:-300], "can't read the image: image file is truncated|without its end"),
    ],
)
def test_what_takes_several_times_the_memory_is_refused(content: bytes, found: str) -> None:
    file = EncodedImage(content)
    with pytest.raises(ImageError, match=found):
        file.large()


def test_a_tiff_of_hundreds_of_bands_in_one_block_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks are large, although they have few pixels."""
    monkeypatch.setattr(tiff_module, "LARGEST_TILE", 64 * 64)
    bands = np.concatenate([PIXELS] * 7, axis=2)
    assert EncodedImage(tiff(tile=(64, 64), planarconfig="contig")).large()
    with pytest.raises(ImageError, match="can't be read one by one"):
        EncodedImage(tiff(bands, tile=(64, 64), planarconfig="contig")).large()


def test_the_size_of_a_huge_png_is_known_and_it_is_not_decoded_as_a_whole() -> None:
    content = bytearray(encoded("PNG"))
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    file = EncodedImage(bytes(content))
    assert (file.height, file.width) == (20_000, 20_000)
    with pytest.raises(TooManyPixelsError):
        file.decoded()


def test_a_released_image_has_its_shape_only() -> None:
    image = EncodedImage(encoded("JPEG")).large()
    image.release()
    assert image.shape == PIXELS.shape
    with pytest.raises(ValueError, match="released"):
        image.region(0, 0, 1, 1)


def test_a_damaged_block_is_found_when_it_is_read() -> None:
    content = bytearray(tiff(tile=(16, 16), compression="deflate"))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
        start, count = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    content[start : start + count] = bytes(count)
    image = EncodedImage(bytes(content)).large()
    np.testing.assert_array_equal(image.region(0, 0, 16, 16), PIXELS[:16, :16])
    with pytest.raises(ImageError):
        image.region(30, 40, 7, 13)
