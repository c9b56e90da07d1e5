"""The files of examples/, each run on the demo's network."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from PIL import Image
from tensormask_server import load_predictor
from tensormask_server.extras import missing_extra

from tests.served.conftest import DEMO_NETWORK, ROOT, Server
from tests.waiting import PATIENCE

EXAMPLES = ROOT / "examples"
MODEL = ROOT / "demo" / "model"
IMAGE = ROOT / "demo" / "images" / "composed.jpg"


def run(*words: object) -> str:
    """What a Python command prints; a failure shows all of it."""
    command = [sys.executable, *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_notebook_finds_and_draws_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):  # else files in the user's home
        monkeypatch.setenv(variable, str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "predictor.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=int(PATIENCE), kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert int(printed.split()[0]) > 3, printed
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_a_servers_response_is_drawn_by_supervision(demo_server: Server, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.png"
    printed = run(EXAMPLES / "client_to_supervision.py", demo_server.url, IMAGE, drawn, "--threshold", 0.45)
    assert int(printed.split()[0]) > 3, printed
    image = np.array(Image.open(IMAGE).convert("RGB"))
    assert np.any(np.array(Image.open(drawn)) != image, axis=-1).mean() > 0.05


def test_a_folder_of_images_becomes_a_table_of_measures(demo_server: Server, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("one.jpg", "other.jpg"):
        (images / name).write_bytes(IMAGE.read_bytes())
    out = tmp_path / "measures.csv"
    options = ["--pixel-size", "0.5mm", "--threshold", 0.45]
    printed = run(EXAMPLES / "measure_instances.py", demo_server.url, images, out, *options)
    table = pd.read_csv(out)
    assert set(table["file_name"]) == {"one.jpg", "other.jpg"}
    np.testing.assert_allclose(table["area_mm2"], table["area"] / 4)
    title, _, *rows = printed.splitlines()
    assert title.split() == ["instances", "images", "mean", "area_mm2", "mean", "equivalent_diameter_mm"]
    assert sum(int(row[len("class") :].split()[-4]) for row in rows) == len(table) > 6


def test_a_file_that_is_no_image_is_named_and_the_others_are_measured(demo_server: Server, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "one.jpg").write_bytes(IMAGE.read_bytes())
    (images / "notes.txt").write_text("x")
    example, out = EXAMPLES / "measure_instances.py", tmp_path / "measures.csv"
    command = [sys.executable, example, demo_server.url, images, out, "--stretch", "percentile"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    named, last = result.stderr.splitlines()
    assert named.startswith(f"{images / 'notes.txt'}: 400 ")
    assert (result.returncode, last) == (1, f"1 of 2 files aren't in {out}")
    assert set(pd.read_csv(out)["file_name"]) == {"one.jpg"}


@pytest.mark.skipif(find_spec("ray") is None, reason="the extra bulk isn't installed")
def test_a_bulk_run_becomes_a_table_of_counts(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("one.jpg", "other.jpg"):  # the same image twice: each count is twice the number of its images
        (images / name).write_bytes(IMAGE.read_bytes())
    run("-m", "tensormask_server.bulk", "--input", images, "--output", tmp_path / "found", *DEMO_NETWORK, "--actors", 1)
    [title, *rows] = run(EXAMPLES / "count_instances.py", tmp_path / "found").splitlines()
    assert title.split() == ["class", "instances", "images"]
    assert rows
    for row in rows:
        _, instances, count = row.rsplit(maxsplit=2)
        assert int(count) == 2
        assert int(instances) % 2 == 0


@pytest.mark.skipif(
    bool(missing_extra("export")) or find_spec("onnxruntime") is None, reason="the extra export isn't installed"
)
def test_an_exported_graph_finds_in_onnx_runtime_what_the_predictor_finds(tmp_path: Path) -> None:
    files = ["--config", MODEL / "config.yaml", "--weights", MODEL / "weights.pkl"]
    run("-m", "tensormask_server.export", *files, "--format", "onnx", "--output", tmp_path / "demo.onnx")
    printed = run(EXAMPLES / "onnx_detections.py", tmp_path / "demo.onnx", IMAGE, *files, "--threshold", 0.45)
    [expected] = load_predictor(MODEL / "config.yaml", MODEL / "weights.pkl")([np.array(Image.open(IMAGE))], 0.45)
    lines = printed.splitlines()
    assert lines[0] == f"{len(expected)} instances"
    for line, number, score in zip(lines[1:], expected.classes, expected.scores, strict=True):
        assert line.split()[1] == str(number)
        assert abs(float(line.split()[3]) - score) < 0.002
