"""Image files as cameras, scanners, phones and editors write them, over HTTP: what OpenCV reads is what is found."""

import io
import json
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tensormask_server import Predictor
from tensormask_server.client import Client, Refused

from reference.cases import Case
from tests.png_chunks import chunk, png
from tests.served.conftest import THRESHOLD, Server
from tests.waiting import PATIENCE

EXIF_6 = Image.Exif()
EXIF_6[0x0112] = 6
XMP_6 = b'<rdf:Description tiff:Orientation="6"/>'


def saved(image: np.ndarray, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format, **options)
    return file.getvalue()


FILES: dict[str, Callable[[np.ndarray], bytes]] = {
    "a PNG with a text whose checksum is wrong": lambda rgb: png(rgb, chunk(b"tEXt", b"Comment\0text", crc=1)),
    "a PNG with a text of 20 MB": lambda rgb: png(
        rgb, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000)))
    ),
    "a PNG with a profile of 3 MB": lambda rgb: png(rgb, chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(3_000_000), 0))),
    "a PNG whose EXIF is none": lambda rgb: png(rgb, chunk(b"eXIf", b"\0\x08\0\2\1\x12\0\3\0\0")),
    "a JPEG that only XMP turns": lambda rgb: saved(rgb, "JPEG", xmp=XMP_6),
    "a WebP that EXIF turns": lambda rgb: saved(rgb, "WEBP", lossless=True, exif=EXIF_6),
    "a JPEG without its end": lambda rgb: saved(rgb, "JPEG")[:-2],
    "a JPEG whose last rows are missing": lambda rgb: saved(rgb, "JPEG", quality=95)[:-900],
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_opencv_reads_it(
    server: Server, predictor: Predictor, case: Case, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_bytes(FILES[name](case.image))
    image = cv2.imread(str(tmp_path / "file"), cv2.IMREAD_COLOR)
    assert image is not None
    [expected] = predictor([np.ascontiguousarray(image[..., ::-1])], THRESHOLD)
    instances = Client(server.url).predict(tmp_path / "file")
    assert (instances.height, instances.width) == image.shape[:2]
    assert len(instances) == len(expected) > 0
    np.testing.assert_allclose(instances.scores, expected.scores, atol=1e-4)
    np.testing.assert_array_equal(instances.masks, expected.masks)
    assert len(instances.notes) == ("JPEG with" in name or "missing" in name)


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bits_in_16_are_found_as_in_8_bits(server: Server, predictor: Predictor, case: Case, channels: int) -> None:
    eight_bits = case.image[..., :channels]
    twelve_bits = png(eight_bits.astype(np.uint16) << 4)
    largest = int(eight_bits.max())
    stretched = np.rint(eight_bits * (255 / largest)).astype(np.uint8)
    [expected] = predictor([np.ascontiguousarray(np.broadcast_to(stretched, case.image.shape))], THRESHOLD)
    instances = Client(server.url).predict(twelve_bits)
    np.testing.assert_allclose(instances.scores, expected.scores, atol=1e-4)
    assert instances.notes == (f"values from 0 to {largest << 4} were stretched to 0 to 255 (stretch=auto)",)
    drawn = Client(server.url).request(twelve_bits, "png")
    assert drawn.note == instances.notes[0]
    dark = Client(server.url).request(twelve_bits, "png", stretch="none", score_threshold=1.0)
    assert dark.note == ""
    pixels = np.array(Image.open(io.BytesIO(dark.body)).convert("RGB"))
    np.testing.assert_array_equal(pixels, np.broadcast_to(eight_bits >> 4, case.image.shape))


def test_the_query_chooses_the_stretch(server: Server, case: Case) -> None:
    url = f"http://127.0.0.1:{server.ports[0]}/tiny/predict?stretch=percentile"
    body = png(case.image[..., :1].astype(np.uint16) << 8)
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        assert response.headers["X-Image-Note"].endswith("(stretch=percentile)")
        assert json.loads(response.read())["notes"] == [response.headers["X-Image-Note"]]


def test_a_cut_off_file_is_refused(server: Server, case: Case) -> None:
    whole = {"JPEG": saved(case.image, "JPEG"), "PNG": saved(case.image, "PNG"), "WEBP": saved(case.image, "WEBP")}
    for content in whole.values():
        with pytest.raises(Refused, match="can't read the image"):
            Client(server.url).predict(content[: len(content) // 2])
