"""Images of 400 million pixels are answered in tiles, by a worker that stays below 3 GB."""

import io
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from reference.cases import Case
from tests.served.conftest import Server, launched, send

pytestmark = pytest.mark.extensive

SIDE = 20_000
TIFF_TILE = 512
MOST_BYTES = 3_000_000_000
# few tiles, so that the test is short; the worker's memory is that of many smaller ones and less
TILES = {"Tile-Size": "4096", "Tile-Overlap": "0.05", "Score-Threshold": "0.1"}


@pytest.fixture(scope="module")
def server(case: Case, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--largest-image", SIDE * SIDE, "--response-timeout", 600, "--name", "large"]
    folder = tmp_path_factory.mktemp("server")
    with launched(folder, "--config", case.config, "--weights", weights, *options) as running:
        yield running


@pytest.fixture(scope="module")
def image(case: Case) -> Image.Image:
    """Some copies of an image on which the network finds instances, enlarged so that files of it are small."""
    objects = Image.fromarray(case.image).resize((2000, 2000), Image.Resampling.BICUBIC)
    drawn = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
    for place in range(1000, SIDE - 3000, 5000):
        drawn.paste(objects, (place, place // 2))
    return drawn


def tiff(image: Image.Image) -> bytes:
    """In tiles, which are written one by one."""
    starts = range(0, SIDE, TIFF_TILE)
    boxes = ((left, top, left + TIFF_TILE, top + TIFF_TILE) for top in starts for left in starts)
    content = io.BytesIO()
    tifffile.imwrite(
        content,
        (np.asarray(image.crop(box)) for box in boxes),
        shape=(SIDE, SIDE, 3),
        dtype=np.uint8,
        tile=(TIFF_TILE, TIFF_TILE),
        photometric="rgb",
        compression="deflate",
    )
    return content.getvalue()


def jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=60)
    return content.getvalue()


def peak_memory(server: Server) -> int:
    """The largest resident memory of the worker since its start, in bytes."""
    [pid] = server.worker_pids()
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


# the TIFF comes first: its peak is lower
@pytest.mark.parametrize("make", [tiff, jpeg])
def test_20000_pixels_a_side_take_less_than_3_gb(
    make: Callable[[Image.Image], bytes], image: Image.Image, server: Server
) -> None:
    headers = {"Content-Type": "image/*", **TILES}
    response = send(urllib.request.Request(server.url, make(image), headers, method="POST"))
    assert response.status == 200, response.body[:500]
    content = json.loads(response.body)
    assert (content["width"], content["height"]) == (SIDE, SIDE)
    assert len(content["instances"]) > 3
    assert peak_memory(server) < MOST_BYTES
