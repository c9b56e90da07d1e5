"""TensorBoard's own reader finds a training's losses, learning rate, AP and drawn images in its event files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator

from tests.unit.training.small_training import SIZE, write_config, write_scored_data
from training import report
from training.settings import load_training_config
from training.trainer import Run, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_scored_data(tmp_path / "data")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of metrics every two iterations."""
    monkeypatch.setattr(report, "PERIOD", 2)


@pytest.mark.usefixtures("often")
def test_tensorboard_reads_what_metrics_jsonl_has(tmp_path: Path, data: Path) -> None:
    config = load_training_config(write_config(tmp_path / "config.yaml", norm="BN", MAX_ITER=4))
    out = tmp_path / "out"
    train(config, Run(data, out, workers=0, optimizer="adamw", validate=data, every=2))
    events = EventAccumulator(str(out), size_guidance={SCALARS: 0, IMAGES: 0}).Reload()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    tags = {"lr": "learning rate", **{name: f"loss/{name}" for name in ("class", "box", "mask")}}
    tags |= {name: f"validation/{name}" for name in ("box AP", "box AP50", "mask AP", "mask AP50")}
    assert set(events.Tags()["scalars"]) == set(tags.values())
    for key, tag in tags.items():
        expected = [(line["iteration"], line[key]) for line in lines if key in line]
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in found] == [step for step, _ in expected] == [2, 4]
        assert np.allclose([value for _, value in found], [value for _, value in expected], rtol=1e-6)
    assert events.Tags()["images"] == ["0.png", "1.png"]
    for name in ("0.png", "1.png"):
        drawn = events.Images(name)
        assert [(event.step, event.height, event.width) for event in drawn] == [(step, SIZE, SIZE) for step in (2, 4)]


def test_masks_are_drawn_on_the_validation_images(tmp_path: Path, data: Path) -> None:
    """After 110 steps the network finds all instances of the two images."""
    config = write_config(tmp_path / "config.yaml", norm="BN", MAX_ITER=110, STEPS=[80], WARMUP_ITERS=10)
    out = tmp_path / "out"
    train(load_training_config(config), Run(data, out, workers=0, optimizer="adamw", validate=data, every=110))
    events = EventAccumulator(str(out), size_guidance={IMAGES: 0}).Reload()
    for name, middle in (("0.png", (69, 64)), ("1.png", (40, 35))):  # a pixel of the square on each, y and x
        [event] = events.Images(name)
        (tmp_path / "drawn.png").write_bytes(event.encoded_image_string)
        drawn = np.array(Image.open(tmp_path / "drawn.png").convert("RGB")).astype(int)
        original = np.array(Image.open(data / "images" / name).convert("RGB")).astype(int)
        assert np.abs(drawn - original)[middle].max() > 20
        assert (drawn[0, -1] == original[0, -1]).all()  # a corner without an instance


@pytest.mark.usefixtures("often")
def test_a_continued_training_hides_what_was_written_after_its_state(tmp_path: Path, data: Path) -> None:
    """A training that was stopped at iteration 3 goes on from its state of iteration 2."""
    out = tmp_path / "out"
    for iterations, period in ((2, 2), (3, 100)):
        path = write_config(tmp_path / "config.yaml", MAX_ITER=iterations, CHECKPOINT_PERIOD=period)
        state = (out / "state.pth").read_bytes() if out.exists() else b""
        train(load_training_config(path), Run(data, out, workers=0))
    (out / "state.pth").write_bytes(state)
    path = write_config(tmp_path / "config.yaml", MAX_ITER=6)
    train(load_training_config(path), Run(data, out, workers=0))
    events = EventAccumulator(str(out), size_guidance={SCALARS: 0}).Reload()
    assert [event.step for event in events.Scalars("loss/class")] == [2, 4, 6]


def test_without_the_package_a_training_writes_metrics_only(tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yaml", MAX_ITER=1)
    absent = (
        "import sys, importlib.util; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'tensorboard' else find(name, *rest)\n"
        "sys.modules['tensorboard'] = None; sys.argv[0] = 'training'\n"
        "from training.__main__ import main; main()"
    )
    words = ["--config", config, "--data", data, "--out", tmp_path / "out", "--workers", "0", "--device", "cpu"]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'handler'}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", absent, *map(str, words)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "metrics.jsonl").exists()
    assert not list((tmp_path / "out").glob("events.out.tfevents*"))
