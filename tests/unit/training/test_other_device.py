"""A training on another device than the CPU leaves no tensor behind on the host, and learns the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.training.pretended_gpu import DEVICE, OnDevice, PretendedGpu
from tests.unit.training.small_training import write_config, write_scored_data
from training.settings import load_training_config
from training.trainer import Run, train


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    autocast = torch.autocast

    def of_the_cpu(_device: str, *args: Any, **kwargs: Any) -> torch.autocast:
        return autocast("cpu", *args, **kwargs)

    monkeypatch.setattr(torch, "autocast", of_the_cpu)  # which knows no other device here
    with PretendedGpu():
        yield


@pytest.mark.usefixtures("gpu")
def test_tensors_of_two_devices_are_refused() -> None:
    there = torch.ones(3, device=DEVICE)
    assert isinstance(there + 1, OnDevice)
    assert float((there * torch.tensor(2.0)).sum()) == 6
    with pytest.raises(RuntimeError, match="expected all tensors on one device"):
        there + torch.ones(3)


def test_a_training_on_another_device_learns_what_it_learns_on_the_cpu(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = write_scored_data(tmp_path / "data")
    config = load_training_config(write_config(tmp_path / "config.yaml", norm="BN", MAX_ITER=2, CHECKPOINT_PERIOD=1))
    options: dict[str, Any] = {"workers": 0, "optimizer": "adamw", "semantic_weight": 1.0, "name_weight": 0.5}
    expected = train(config, Run(data, tmp_path / "cpu", **options)).state_dict()
    request.getfixturevalue("gpu")
    trained = train(config, Run(data, tmp_path / "gpu", device=DEVICE, validate=data, **options)).state_dict()
    for name, tensor in trained.items():
        assert isinstance(tensor, OnDevice), name
        torch.testing.assert_close(tensor.held, expected[name], rtol=1e-4, atol=1e-5, msg=name)
    assert "mask AP" in (tmp_path / "gpu" / "metrics.jsonl").read_text()
