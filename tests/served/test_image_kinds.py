"""Images of microscopes, GIS tools and phones over HTTP are found as other libraries read them, or they are named."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tensormask_server import Predictor
from tensormask_server.client import Client, Refused

from reference.cases import Case
from tests.served.conftest import ROOT, THRESHOLD, Server

HEIC = ROOT / "tests" / "unit" / "images" / "files" / "turned.heic"


def tiff(image: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, metadata=None, **options)
    return file.getvalue()


def avif(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "AVIF", quality=90)
    return file.getvalue()


def as_tifffile(content: bytes) -> np.ndarray:
    image = tifffile.imread(io.BytesIO(content))
    return np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image


def as_pillow(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def planes16(rgb: np.ndarray) -> bytes:
    return tiff(np.moveaxis(rgb.astype(np.uint16) * 257, -1, 0), photometric="rgb", planarconfig="separate")


READ: dict[str, tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]] = {
    "a BigTIFF in tiles": (
        lambda rgb: tiff(rgb, photometric="rgb", bigtiff=True, tile=(64, 64), compression="zlib"),
        as_tifffile,
    ),
    "a TIFF of 16 bits in planes": (planes16, lambda content: (as_tifffile(content) >> 8).astype(np.uint8)),
    "a TIFF of three grey bands": (lambda rgb: tiff(rgb, photometric="minisblack", planarconfig="contig"), as_tifffile),
    "an AVIF": (avif, as_pillow),
}


@pytest.mark.parametrize("name", READ)
def test_what_others_read_is_what_is_found(server: Server, predictor: Predictor, case: Case, name: str) -> None:
    write, read = READ[name]
    content = write(case.image)
    [expected] = predictor([np.ascontiguousarray(read(content))], THRESHOLD)
    instances = Client(server.url).predict(content)
    assert len(instances) == len(expected) > 0
    np.testing.assert_allclose(instances.scores, expected.scores, atol=1e-4)
    np.testing.assert_array_equal(instances.masks, expected.masks)
    assert bool(instances.notes) == ("grey bands" in name)


def test_a_heic_is_turned_as_its_boxes_say(server: Server) -> None:
    instances = Client(server.url).predict(HEIC)
    assert (instances.height, instances.width) == (64, 48)


REFUSED: dict[str, tuple[Callable[[np.ndarray], bytes], str]] = {
    "floating-point numbers": (
        lambda rgb: tiff(rgb[..., 0] / np.float32(9) - 5, photometric="minisblack"),
        "floating-point numbers from -4.66667 to .* the option stretch",
    ),
    "four bands": (
        lambda rgb: tiff(np.dstack([rgb, rgb[..., 0]]), photometric="minisblack", planarconfig="contig"),
        "has 4 bands, and doesn't say which are colours; .* gdal_translate -b 1 -b 2 -b 3",
    ),
    "a DNG": (
        lambda rgb: tiff(rgb[::4, ::4], photometric="rgb", subfiletype=1, extratags=[(50706, 1, 4, b"\1\4\0\0", True)]),
        r"a raw photograph \(DNG\); .* darktable-cli photo.dng photo.jpg",
    ),
    "SVG": (lambda _: b'\xef\xbb\xbf<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg/>', "is SVG, .* rsvg-convert"),
    "DICOM": (lambda _: bytes(128) + b"DICM" + bytes(99), "is DICOM, .* dcmj2pnm"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named_with_what_to_do(server: Server, case: Case, tmp_path: Path, name: str) -> None:
    write, said = REFUSED[name]
    (tmp_path / "file").write_bytes(write(case.image))
    with pytest.raises(Refused, match=f"400 .*{said}"):
        Client(server.url).predict(tmp_path / "file")
    if name == "floating-point numbers":
        assert "stretch=min-max" in Client(server.url).predict(tmp_path / "file", stretch="min-max").notes[0]
