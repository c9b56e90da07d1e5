"""The learning rate over the iterations."""

import dataclasses
from pathlib import Path

import pytest

from tests.unit.training.small_training import write_config
from training.schedule import learning_rate
from training.settings import SolverConfig, load_training_config


@pytest.fixture
def solver(tmp_path: Path) -> SolverConfig:
    steps = {"BASE_LR": 0.5, "MAX_ITER": 100, "STEPS": [60, 80], "WARMUP_ITERS": 10, "WARMUP_FACTOR": 0.1}
    return load_training_config(write_config(tmp_path / "config.yaml", **steps)).solver


def test_it_warms_up_and_falls_in_steps(solver: SolverConfig) -> None:
    rates = {iteration: learning_rate(solver, iteration) for iteration in (0, 5, 10, 59, 60, 79, 80)}
    assert rates == pytest.approx({0: 0.05, 5: 0.275, 10: 0.5, 59: 0.5, 60: 0.05, 79: 0.05, 80: 0.005})


def test_it_falls_along_a_cosine(solver: SolverConfig) -> None:
    cosine = dataclasses.replace(solver, schedule="WarmupCosineLR")
    assert [learning_rate(cosine, iteration) for iteration in (50, 100)] == pytest.approx([0.25, 0], abs=1e-9)
