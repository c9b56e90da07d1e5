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


@pytest.fixture
def server(case: Case, weights: Path, tmp_path: Path) -> Iterator[Server]:
    options = ["--largest-image", SIDE * SIDE, "--response-timeout", 600, "--name", "large"]
    with launched(tmp_path, "--config", case.config, "--weights", weights, *options) as running:
        yield running


def objects(case: Case) -> Image.Image:
    """What the network finds instances on, enlarged, so that a JPEG of it is small."""
    return Image.fromarray(case.image).resize((2000, 2000), Image.Resampling.BICUBIC)


def jpeg(case: Case) -> bytes:
    image = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
    for place in range(1000, SIDE - 3000, 5000):
        image.paste(objects(case), (place, place // 2))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=60)
    return content.getvalue()


def tiff(case: Case) -> bytes:
    """In tiles, which are written one by one."""
    drawn = np.asarray(objects(case).crop((0, 0, TIFF_TILE, TIFF_TILE)))
    plain = np.full_like(drawn, 120)
    across = -(-SIDE // TIFF_TILE)
    content = io.BytesIO()
    tifffile.imwrite(
        content,
        (drawn if number % 7 == 0 else plain for number in range(across**2)),
        shape=(SIDE, SIDE, 3),
        dtype=np.uint8,
        tile=(TIFF_TILE, TIFF_TILE),
        photometric="rgb",
        compression="deflate",
    )
    return content.getvalue()


def peak_memory(server: Server) -> int:
    """The largest resident memory of the worker since its start, in bytes."""
    [pid] = server.worker_pids()
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


@pytest.mark.parametrize("make", [jpeg, tiff])
def test_20000_pixels_a_side_take_less_than_3_gb(make: Callable[[Case], bytes], case: Case, server: Server) -> None:
    headers = {"Content-Type": "image/*", **TILES}
    response = send(urllib.request.Request(server.url, make(case), headers, method="POST"))
    assert response.status == 200, response.body[:500]
    content = json.loads(response.body)
    assert (content["width"], content["height"]) == (SIDE, SIDE)
    assert len(content["instances"]) > 3
    assert peak_memory(server) < MOST_BYTES
