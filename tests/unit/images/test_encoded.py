"""Image files of every format become the RGB that a person sees."""

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tensormask_server.images.encoded import read_image
from tensormask_server.images.errors import ImageError

ROOT = Path(__file__).parents[3]


def saved(drawn: Image.Image, file_format: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    drawn.save(file, file_format, **options)
    file.seek(0)
    return file


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_rgb_is_kept(rgb: np.ndarray, file_format: str) -> None:
    file = saved(Image.fromarray(rgb), file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    np.testing.assert_array_equal(read_image(file), rgb)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_image_of_an_animation_or_of_several_pages_is_read(file_format: str) -> None:
    red, blue = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")
    file = saved(
        red, file_format, save_all=True, append_images=[blue], **({"lossless": True} if file_format == "WEBP" else {})
    )
    np.testing.assert_array_equal(read_image(file), np.asarray(red))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = 255 if mode == "1" else 204  # both in Pillow's own palette
    if mode == "I;16":
        drawn = Image.fromarray(np.full((3, 4), 257 * grey, np.uint16))
    else:
        drawn = Image.new("RGB", (4, 3), (grey, grey, grey)).convert(mode)
    assert drawn.mode == mode
    image = read_image(saved(drawn, "TIFF"))
    assert image.shape == (3, 4, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, grey, atol=1)


def test_a_pgm_of_16_bits_is_read_as_a_png_is() -> None:
    """Pillow opens it with signed values of 32 bits."""
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    pgm = b"P5 4 3 65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(read_image(io.BytesIO(pgm))[..., 0], values >> 8)
    np.testing.assert_array_equal(read_image(io.BytesIO(pgm)), read_image(saved(Image.fromarray(values))))


def test_what_is_transparent_is_white() -> None:
    drawn = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    drawn.putpixel((1, 0), (255, 0, 0, 0))
    np.testing.assert_array_equal(read_image(saved(drawn)), [[[255, 0, 0], [255, 255, 255]]])


def test_a_palette_with_a_transparent_colour_is_white_there() -> None:
    drawn = Image.new("P", (2, 1))
    drawn.putpalette([0, 0, 0, 9, 9, 9])
    drawn.putpixel((1, 0), 1)
    np.testing.assert_array_equal(read_image(saved(drawn, transparency=0)), [[[255] * 3, [9] * 3]])


def test_exif_turns_the_image(rgb: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    file = saved(Image.fromarray(rgb), "PNG", exif=exif)
    np.testing.assert_array_equal(read_image(file), np.rot90(rgb, -1))


@pytest.mark.parametrize("orientation", range(1, 10))
def test_every_orientation_is_turned_as_pillow_does(rgb: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file_format in ("PNG", "TIFF"):
        file = saved(Image.fromarray(rgb), file_format, exif=exif)
        turned = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
        np.testing.assert_array_equal(read_image(file), turned)


def test_another_value_of_exif_that_is_wrong_costs_nothing(rgb: np.ndarray) -> None:
    width_as_a_text = struct.pack(">HHI4s", 0x0100, 2, 2, b"5")
    turned = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + width_as_a_text + turned + bytes(4)
    file = saved(Image.fromarray(rgb), "PNG", exif=exif)
    with pytest.raises(Exception, match="argument"):
        ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
    np.testing.assert_array_equal(read_image(file), np.rot90(rgb, -1))


def test_a_file_that_is_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.jpg"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="the image has no supported file format"):
        read_image(io.BytesIO(b"text"))
    with pytest.raises(ImageError, match=r"can't read"):
        read_image(io.BytesIO(saved(Image.new("RGB", (400, 400), "red"), "JPEG").getvalue()[:900]))
    with pytest.raises(ImageError, match="floating-point"):
        read_image(saved(Image.new("F", (2, 2)), "TIFF"))


def test_prepare_input_writes_the_json_of_the_pixels(tmp_path: Path, rgb: np.ndarray) -> None:
    (tmp_path / "image.png").write_bytes(saved(Image.fromarray(rgb)).getvalue())
    command = [sys.executable, ROOT / "prepare_input.py", tmp_path / "image.png", tmp_path / "image.json"]
    subprocess.run([*command, "--threshold", "0.25"], check=True)
    content = json.loads((tmp_path / "image.json").read_text())
    np.testing.assert_array_equal(content["img_data"], rgb.transpose(2, 0, 1))
    assert content["threshold"] == 0.25


def test_prepare_input_refuses_what_the_server_would(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    command = [sys.executable, ROOT / "prepare_input.py", "rgb.png", "rgb.json", "--threshold", "5"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "--threshold is 5; expected a number from 0 to 1" in result.stderr
    assert not (tmp_path / "rgb.json").exists()


def test_prepare_input_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "prepare_input.py", tmp_path / "absent.png", tmp_path / "image.json"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "image.json").exists()
