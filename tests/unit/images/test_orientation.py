"""EXIF alone turns an image, in every format that has EXIF, as OpenCV does."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tensormask_server.images.encoded import read_image

# smooth, so that lossy formats keep it nearly
Y, X = np.mgrid[:48, :64]
RGB = np.stack([X * 4, Y * 5, X + Y], axis=2).astype(np.uint8)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
FORMATS = {"JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def saved(file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, file_format, **FORMATS[file_format], **options)
    return file.getvalue()


def check_as_opencv(content: bytes) -> np.ndarray:
    read = read_image(io.BytesIO(content))
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert read.shape == expected.shape
    np.testing.assert_allclose(read.astype(int), expected.astype(int), atol=3)
    return read


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_as_opencv_does(file_format: str, orientation: int) -> None:
    read = check_as_opencv(saved(file_format, exif=exif(orientation)))
    assert read.shape == ((64, 48, 3) if orientation >= 5 else (48, 64, 3))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("with_exif", [False, True])
def test_xmp_turns_nothing(file_format: str, with_exif: bool) -> None:
    """Pillow looks at XMP if EXIF has no orientation."""
    made = Image.Exif()
    made[0x010E] = "a description"
    options = {"exif": made.tobytes()} if with_exif else {}
    if file_format == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options |= {"pnginfo": text}
    else:
        options |= {"xmp": XMP}
    content = saved(file_format, **options)
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif().get(0x0112) == 6
    assert check_as_opencv(content).shape == (48, 64, 3)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(file_format: str, value: int) -> None:
    np.testing.assert_allclose(read_image(io.BytesIO(saved(file_format, exif=exif(value)))).astype(int), RGB, atol=3)


@pytest.mark.parametrize("content", [b"II*\0", b"MM\0*\0\0\0\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(20), b"text"])
@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_damaged_exif_turns_nothing(file_format: str, content: bytes) -> None:
    read = read_image(io.BytesIO(saved(file_format, exif=b"Exif\0\0" + content)))
    np.testing.assert_allclose(read.astype(int), RGB, atol=3)


def test_an_orientation_of_another_type_turns_nothing() -> None:
    as_a_text = b"Exif\0\0MM\0*" + struct.pack(">IHHHI4sI", 8, 1, 0x0112, 2, 2, b"6", 0)
    np.testing.assert_allclose(read_image(io.BytesIO(saved("JPEG", exif=as_a_text))).astype(int), RGB, atol=3)
