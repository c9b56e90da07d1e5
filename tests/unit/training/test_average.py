"""The mean of weights."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tensormask_server.model_files.checkpoint import load_checkpoint

from training.average import main

FIRST = {"head.a.weight": np.array([[1.0, 2.0]], np.float32), "backbone.b.bias": np.array([5.0], np.float32)}
SECOND = {"head.a.weight": np.array([[3.0, -2.0]], np.float32), "backbone.b.bias": np.array([8.0], np.float32)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, weights in (("A.pkl", FIRST), ("B.pkl", SECOND)):
        Path(name).write_bytes(pickle.dumps({"model": weights, "__author__": "a test"}))
    return tmp_path


def test_the_mean_is_written() -> None:
    torch.save({"model": {name: torch.from_numpy(array) for name, array in SECOND.items()}}, "C.pth")
    main(["A.pkl", "B.pkl", "C.pth", "--out", "mean.pkl"])
    mean = load_checkpoint("mean.pkl")
    assert {name: tensor.dtype for name, tensor in mean.items()} == dict.fromkeys(FIRST, torch.float32)
    for name, tensor in mean.items():
        np.testing.assert_allclose(tensor, (FIRST[name] + 2 * SECOND[name]) / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A.pkl"], "one file of weights has no mean; expected two or more"),
        (["A.pkl", "absent.pkl"], "can't read the weights absent.pkl"),
        (["A.pkl", "narrow.pkl"], "head.a.weight is of the shape (1,) in narrow.pkl, and of the shape (1, 2) in A.pkl"),
        (["A.pkl", "other.pkl"], "head.a.weight is missing in other.pkl, and of the shape (1, 2) in A.pkl"),
        (["other.pkl", "A.pkl"], "head.a.weight is of the shape (1, 2) in A.pkl, and missing in other.pkl"),
        (["A.pkl", "B.pkl", "--out", "mean.pth"], "--out is mean.pth; expected a name that ends in .pkl"),
        (["A.pkl", "B.pkl", "--out", "absent/mean.pkl"], "can't write to absent/mean.pkl: No such file or directory"),
    ],
)
def test_what_has_no_mean_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    narrow = {**FIRST, "head.a.weight": np.ones(1, np.float32)}
    other = {"backbone.b.bias": FIRST["backbone.b.bias"]}
    for name, weights in (("narrow.pkl", narrow), ("other.pkl", other)):
        Path(name).write_bytes(pickle.dumps({"model": weights}))
    with pytest.raises(SystemExit, match="2"):
        main(arguments if "--out" in arguments else [*arguments, "--out", "mean.pkl"])
    assert said in capsys.readouterr().err
    assert not Path("mean.pkl").exists()
