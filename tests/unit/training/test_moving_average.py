"""The moving average of a training's weights, alone and as a training writes it."""

from pathlib import Path

import pytest
import torch
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.same_options import OptionsChanged
from torch import nn

from tests.unit.training.small_training import write_config, write_data
from training.files import AVERAGE, WEIGHTS
from training.moving_average import MovingAverage
from training.settings import load_training_config
from training.trainer import Run, train


def test_it_moves_by_the_decay_and_faster_at_first() -> None:
    network = nn.BatchNorm2d(2)
    average = MovingAverage(network, 0.5)
    expected = 1.0
    for done, value in enumerate([3.0, 5.0, 2.0, 8.0, 1.0, 4.0, 9.0, 7.0, 6.0, 2.0]):
        with torch.no_grad():
            network.weight.fill_(value)
        average.update(done)
        decay = min(0.5, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * value
    state = average.state_dict()
    torch.testing.assert_close(state["weight"], torch.full((2,), expected))
    assert state.keys() == {"weight", "bias", "running_mean", "running_var"}


def test_a_continued_training_continues_the_average(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    averages = {}
    for name, parts in (("whole", [4]), ("in parts", [2, 4])):
        for most in parts:
            config = load_training_config(write_config(tmp_path / "config.yaml", norm="BN", MAX_ITER=most))
            train(config, Run(data, tmp_path / name, workers=0, average_decay=0.9))
        averages[name] = load_checkpoint(tmp_path / name / AVERAGE)
    last = load_checkpoint(tmp_path / "whole" / WEIGHTS)
    assert averages["whole"].keys() == last.keys()
    assert any(not torch.equal(tensor, last[name]) for name, tensor in averages["whole"].items())
    for name, tensor in averages["whole"].items():
        torch.testing.assert_close(averages["in parts"][name], tensor, msg=name)
    with pytest.raises(OptionsChanged, match="--average-decay"):
        train(config, Run(data, tmp_path / "whole", workers=0))
