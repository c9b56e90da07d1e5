"""Files that aren't read are named, with what to do. Pillow writes some; others begin as their formats say."""

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.images.other_files import OTHER_FILES, other_file
from tensormask_server.images.signatures import SIGNATURES, is_image

from tests.waiting import PATIENCE

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def saved(file_format: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, file_format)
    return content.getvalue()


def npy() -> bytes:
    content = io.BytesIO()
    np.save(content, PIXELS)
    return content.getvalue()


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("image.jpg", saved("JPEG"))
    return content.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
DOCTYPE = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"'
ENTITIES = b' [\n<!ENTITY ns_svg "http://www.w3.org/2000/svg">\n<!ENTITY a "&#38;">\n]>\n'
XML = b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
# a name of OTHER_FILES and a file; what Pillow writes is named by the format
FILES = [
    ("SVG", SVG),
    ("SVG", b"\n  " + SVG),
    ("SVG", b"\xef\xbb\xbf" + XML + SVG),
    ("SVG", XML + b"<!-- Created with Inkscape (http://www.inkscape.org/) -->\n\n<svg\n   width='9'>"),
    ("SVG", XML + DOCTYPE + b">\n" + SVG),
    ("SVG", XML + b"<!-- Generator: Adobe Illustrator -->" + DOCTYPE + ENTITIES + SVG),
    ("SVG", b"<!DOCTYPE svg>\n<!-- of a tool --><svg>"),
    ("SVG", XML + b'<svg:svg xmlns:svg="http://www.w3.org/2000/svg">'),
    ("SVG", (XML + SVG).decode().encode("utf-16")),
    ("an HTML page", b"\n<!DOCTYPE html>\n<html lang='en'>"),
    ("an HTML page", b"<html><head><title>404</title>"),
    ("PDF", saved("PDF")),
    ("PostScript", saved("EPS")),
    ("PSD, of Photoshop", b"8BPS\0\1\0\0\0\0\0\0\0\3"),
    ("XCF, of GIMP", b"gimp xcf file\0"),
    ("an icon (ICO)", saved("ICO")),
    ("an icon (ICNS)", saved("ICNS")),
    ("a Targa image (TGA)", saved("TGA")),
    ("DirectDraw (DDS)", saved("DDS")),
    ("a Netpbm image", saved("PPM")),
    ("QOI", saved("QOI")),
    ("JPEG 2000", saved("JPEG2000")),
    ("JPEG XL", b"\xff\x0a\xfa\x7f\x01"),
    ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG XR", b"II\xbc\x01\x20\0\0\0"),
    ("DICOM", bytes(128) + b"DICM\2\0\0\0UL"),
    ("OpenEXR", b"v/1\x01\2\0\0\0channels\0"),
    ("Radiance HDR", b"#?RADIANCE\n# made\n"),
    ("npy, an array of NumPy", npy()),
    ("FITS", b"SIMPLE  =                    T / conforms".ljust(80)),
    ("NIfTI", (348).to_bytes(4, "little") + bytes(340) + b"n+1\0"),
    ("NIfTI", (348).to_bytes(4, "big") + bytes(340) + b"ni1\0"),
    ("NIfTI", (540).to_bytes(4, "little") + b"n+2\0\r\n\x1a\n"),
    ("HDF5", b"\x89HDF\r\n\x1a\n\0"),
    ("HDF5", bytes(512) + b"\x89HDF\r\n\x1a\n\0"),
    ("NetCDF", b"CDF\x01\0\0\0\0"),
    ("a MATLAB file", b"MATLAB 5.0 MAT-file, Platform: GLNXA64"),
    ("ERDAS Imagine", b"EHFA_HEADER_TAG\0"),
    ("MrSID", b"msid\1\2\0\0"),
    ("NITF", b"NITF02.10"),
    ("CZI, of Zeiss", b"ZISRAWFILE\0\0"),
    ("ND2, of Nikon", b"\xda\xce\xbe\x0a\x10\0\0\0"),
    ("LIF, of Leica", b"\x70\0\0\0\x14\1\0\0\x2a"),
    ("an OLE file, such as OIB, ZVI or DOC", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("a raw photograph (CR3)", b"\0\0\0\x18ftypcrx \0\0\0\1"),
    ("a raw photograph (RAF)", b"FUJIFILMCCD-RAW 0201"),
    ("a raw photograph (ORF)", b"IIRO\x08\0\0\0"),
    ("a raw photograph (RW2)", b"IIU\0\x18\0\0\0"),
    ("a raw photograph (CRW)", b"II\x1a\0\0\0HEAPCCDR"),
    ("a raw photograph (X3F)", b"FOVb\1\0\2\0"),
    ("a raw photograph (MRW)", b"\0MRM\0\0\1\0"),
    ("a video", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41"),
    ("a video", b"\0\0\0\x14ftypqt  \0\0\2\0qt  "),
    ("a video", b"RIFF\x24\0\0\0AVI LIST"),
    ("a video", b"\x1aE\xdf\xa3\x9fB\x86\x81"),
    ("a sound", b"RIFF\x24\0\0\0WAVEfmt "),
    ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    ("a zip archive", zipped()),
    ("an archive (7z, RAR, xz, bzip2 or zstd)", b"7z\xbc\xaf\x27\x1c\0\4"),
]


@pytest.mark.parametrize(("name", "content"), FILES, ids=[f"{name} {index}" for index, (name, _) in enumerate(FILES)])
def test_a_file_is_named_with_what_to_do(name: str, content: bytes) -> None:
    found = other_file(content)
    assert found is not None
    assert found.name == name
    with pytest.raises(ImageError) as caught:
        EncodedImage(content, tuple(SIGNATURES))
    assert str(caught.value) == f"the image is {name}, which isn't supported; expected {found.expected}"


def test_every_kind_is_tested_and_named_once() -> None:
    names = [other.name for other in OTHER_FILES]
    assert len(names) == len(set(names))
    assert set(names) == {name for name, _ in FILES}


def test_what_is_read_is_not_refused() -> None:
    big_tiff = io.BytesIO()
    tifffile.imwrite(big_tiff, PIXELS, bigtiff=True)
    for content in (*map(saved, ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")), big_tiff.getvalue()):
        assert is_image(content)
        assert other_file(content) is None
        assert EncodedImage(content, tuple(SIGNATURES)).width == 48


def test_texts_and_unknown_bytes_have_no_name() -> None:
    for content in (b"", b"{}", b'{"image": "aaaa"}', b"[1, 2]", b"hello", bytes(1000), bytes(range(256)), b"<note>"):
        assert other_file(content) is None


def test_the_search_ends_whatever_a_file_repeats() -> None:
    """It takes milliseconds; a search that goes back over its steps would take years."""
    script = (
        "from tensormask_server.images.other_files import LONGEST_HEAD, other_file\n"
        "parts = [b'<!---->', b'<?a?>', b'<!DOCTYPE svg ', b'<!DOCTYPE svg []>', b'<!--', b' ', b']', b'<!-- <svg>']\n"
        "for part in parts:\n"
        "    for start in (b'', b'<!DOCTYPE svg [', b'<?xml ?>'):\n"
        "        assert other_file(start + part * (LONGEST_HEAD // len(part))) is None"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)
