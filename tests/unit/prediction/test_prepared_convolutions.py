"""A process that predicts keeps few prepared convolutions, whoever started it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensormask_server.prediction.prepared_convolutions import MOST, VARIABLE, limit_prepared_convolutions

from reference.cases import load_case, write_weights

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
ONEDNN = 1024  # its own limit
# oneDNN prints each convolution that it prepares, and each that it has kept
PREDICT = """
import sys
import numpy as np
from tensormask_server import load_predictor

predictor = load_predictor(*sys.argv[1:])
sizes = [(64, 64 + 32 * number) for number in range(6)]
for height, width in (*sizes, *((width, height) for height, width in sizes[1:])):
    predictor([np.zeros((height, width, 3), np.uint8)])
print("AGAIN", flush=True)
predictor([np.zeros((*sizes[0], 3), np.uint8)])
"""


def test_the_limit_is_below_onednns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    limit_prepared_convolutions()
    assert os.environ.pop(VARIABLE) == str(MOST)
    assert MOST < ONEDNN


def test_the_environment_has_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "7")
    limit_prepared_convolutions()
    assert os.environ[VARIABLE] == "7"


@pytest.mark.parametrize("limit", [None, ONEDNN])
def test_load_predictor_keeps_few_of_them(limit: int | None, tmp_path: Path) -> None:
    """The first image's are gone after images of other sizes, unless the environment allows more."""
    case = load_case("tiny")
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | {"ONEDNN_VERBOSE": "2"}
    if limit is not None:
        environment[VARIABLE] = str(limit)
    words = [sys.executable, "-c", PREDICT, case.config, write_weights(case, tmp_path / "tiny.pkl")]
    printed = subprocess.run(words, capture_output=True, check=True, text=True, env=environment, cwd=ROOT).stdout
    before, again = printed.split("AGAIN\n")
    assert MOST < before.count("create:cache_miss") < ONEDNN
    assert ("create:cache_miss" in again) == (limit is None)
