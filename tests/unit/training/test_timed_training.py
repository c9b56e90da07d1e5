"""demo/train_gpu.sh on a CPU, with a small network and few images: it composes, trains, validates, and ends in time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensormask_server import load_predictor
from tensormask_server.model_files.checkpoint import load_checkpoint

from demo.emoji import CATEGORIES, TRAINING_DESIGNS, VALIDATION_DESIGNS
from demo.timed_training import main
from tests.unit.training.small_training import write_config
from tests.waiting import PATIENCE
from training.average import average
from training.files import write_weights
from training.network import named_weights, network_to_train
from training.settings import load_training_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """A folder of drawings as the cache of demo/emoji.py, with a disc of its own colour for each name."""
    y, x = np.mgrid[:256, :256] - 128
    names = [name for category in CATEGORIES for name in category.icons]
    arrays = {}
    for number, name in enumerate(names):
        arrays[name] = np.zeros((256, 256, 4), np.uint8)
        arrays[name][np.hypot(x, y) < 90] = (7 * number % 256, 40 * number % 256, 90, 255)
    folder = tmp_path / "emoji"
    folder.mkdir()
    for design in (*TRAINING_DESIGNS, *VALIDATION_DESIGNS):
        np.savez_compressed(design.drawn_in(folder), **arrays)
    return folder


def run(*options: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **variables}
    command = [str(word) for word in (ROOT / "demo" / "train_gpu.sh", *options)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10 * PATIENCE, check=False)


def test_the_script_writes_weights_and_a_table(tmp_path: Path, drawings: Path) -> None:
    config = write_config(tmp_path / "config.yaml", norm="BN")
    config.write_text(config.read_text().replace("NUM_CLASSES: 2", "NUM_CLASSES: 20"))
    out, start = tmp_path / "out", tmp_path / "start.pkl"
    network = network_to_train(load_training_config(config))
    write_weights(start, {name: tensor.numpy() for name, tensor in named_weights(network).items()})
    options = ["--weights", start, "--images", 6, "--selection-images", 2, "--validation-images", 2, "--size", 96]
    options += ["--batch", 2, "--first-steps", 2, "--workers", 2]
    options += ["--gpus", 2]  # as many processes
    result = run(*options, "--minutes", 0.02, "--device", "cpu", "--precision", "float32", "--config", config,
                 "--emoji", drawings, "--out", out)  # fmt: skip
    assert result.returncode == 0, result.stderr
    files = {"weights.pkl", "last.pkl", "average.pkl", "mean.pkl", "config.yaml", "metrics.jsonl", "table.md"}
    assert {path.name for path in out.iterdir()} == files
    load_predictor(out / "config.yaml", out / "weights.pkl")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["iteration"] == 2 < lines[-1]["iteration"]
    table = (out / "table.md").read_text()
    assert "6, 2 and 2 images in 2 processes" in table
    assert f"until step {lines[-1]['iteration']} |" in table
    rows = [line.split("|")[1:4] for line in table.splitlines()[-3:]]
    assert [name.strip() for name, _, _ in rows] == ["last", "average", "mean"]
    [chosen] = [name.strip() for name, _, note in rows if "written as weights.pkl" in note]
    assert (out / "weights.pkl").read_bytes() == (out / f"{chosen}.pkl").read_bytes()
    mean = average([out / "last.pkl", start])
    for name, tensor in load_checkpoint(out / "mean.pkl").items():
        torch.testing.assert_close(tensor, mean[name])
    assert "written as weights.pkl" in result.stdout


def test_a_training_that_fails_ends_the_script_with_its_status(tmp_path: Path, drawings: Path) -> None:
    """The network has two classes, and the data set twenty."""
    config = write_config(tmp_path / "config.yaml", norm="BN")
    options = ["--images", 2, "--validation-images", 1, "--size", 96, "--device", "cpu", "--config", config]
    result = run(*options, "--emoji", drawings, "--out", tmp_path / "out", "--workers", 1)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("MODEL.TENSOR_MASK.NUM_CLASSES is 2; ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (
            "out",
            "lacks the drawings of 9 of 9 designs, and there is no npm to fetch them; copy the folder demo/output/e",
        ),
        ("file/out", "can't write to "),
    ],
)
def test_what_it_can_not_begin_with_is_told(
    tmp_path: Path,
    drawings: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    out: str,
    said: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    emoji = tmp_path if out == "out" else drawings
    assert main(["--emoji", str(emoji), "--out", str(tmp_path / out)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "skimage.py").write_text("raise ImportError\n")
    result = run("--out", tmp_path / "out", PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "can't import skimage.data; expected torch, numpy, Pillow, PyYAML, safetensors, isal, pycocotools" in line


def test_a_missing_python_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "demo" / "train_gpu.sh", tmp_path)
    environment = {"PATH": "", "PYTHON": "no-such-python"}
    command = ["/bin/bash", str(tmp_path / "train_gpu.sh")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "demo/train_gpu.sh: there is no no-such-python\n")


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="the system has no /dev/shm")
def test_too_little_shared_memory_is_told(tmp_path: Path, drawings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--emoji", str(drawings), "--out", str(tmp_path / "out"), "--workers", "100000000"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "give a lower number of --workers" in line
