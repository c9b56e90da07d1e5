"""A bulk run with an archive has the results of a server of the same archive."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensormask_server.extras import missing_extra

pytest.importorskip("ray", reason="Ray isn't installed: the extra bulk brings it")

import pyarrow.parquet as pq
from PIL import Image

from reference.cases import Case
from tests.served.conftest import ROOT, Server, launched, send
from tests.waiting import PATIENCE

ENGINES = ("native", "openvino")
THRESHOLD, TILE = 0.07, 96  # of the archives: no defaults


@pytest.fixture(scope="module")
def images(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, part in (("whole", case.image), ("top", case.image[:90]), ("left", case.image[:, :130])):
        Image.fromarray(part).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module", params=ENGINES)
def served(
    request: pytest.FixtureRequest, case: Case, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Server]]:
    """An archive of each engine, and its server."""
    if request.param == "openvino" and missing_extra("openvino"):
        pytest.skip("OpenVINO isn't installed: the extra openvino brings it")
    store = tmp_path_factory.mktemp("store")
    command = [ROOT / "archive.sh", "--config", case.config, "--weights", weights, "--output", store]
    command += ["--name", "tiny", "--threshold", THRESHOLD, "--tile-size", TILE, "--engine", request.param]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    with launched(store, "--archive", store / "tiny.mar", PATH="") as server:
        yield store / "tiny.mar", server


def bulk(images: Path, output: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tensormask_server.bulk", "--input", images, "--output", output, *options]
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=4 * PATIENCE)


def test_the_rows_are_the_servers_responses(served: tuple[Path, Server], images: Path, tmp_path: Path) -> None:
    archive, server = served
    run = bulk(images, tmp_path / "found", "--archive", archive, "--actors", 1)
    assert run.returncode == 0, run.stderr
    rows = pq.read_table(tmp_path / "found").to_pylist()
    assert len(rows) == 3
    for row in rows:
        response = response_to(server, Path(row["path"]))
        assert row["weights_sha256"] == response["weights_sha256"]
        assert len(row["instances"]) == len(response["instances"]) > 3
        for instance, expected in zip(row["instances"], response["instances"], strict=True):
            assert instance["segmentation"] == expected["segmentation"]
            assert instance["category_name"] == expected["category_name"]
            assert instance["score"] == pytest.approx(expected["score"], abs=1e-6)
            np.testing.assert_allclose(instance["bbox"], expected["bbox"], atol=0.006)
    files = "--config", archive, "--weights", archive
    again = bulk(images, tmp_path / "found", "--archive", archive, *files)
    assert again.returncode == 2
    assert "expected either --archive, or --config and --weights" in again.stderr


def response_to(server: Server, image: Path) -> dict[str, Any]:
    headers = {"Content-Type": "image/png", "Format": "coco"}
    request = urllib.request.Request(server.url, image.read_bytes(), headers)
    response: dict[str, Any] = json.loads(send(request).body)
    return response


def test_a_run_goes_on_with_its_own_engine_only(
    case: Case, weights: Path, served: tuple[Path, Server], images: Path, tmp_path: Path
) -> None:
    archive, _ = served
    one = images / "whole.png"
    assert bulk(one, tmp_path / "found", "--archive", archive).returncode == 0
    files = ["--config", case.config, "--weights", weights, "--threshold", THRESHOLD]
    other = bulk(one, tmp_path / "found", *files)
    assert other.returncode == 2
    assert "holds results with another --" in other.stderr.splitlines()[-1]
