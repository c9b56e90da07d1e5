"""A worker keeps few prepared convolutions."""

import os

import pytest
from tensormask_server.worker.prepared_convolutions import MOST, VARIABLE, limit_prepared_convolutions


def test_the_limit_is_below_onednns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    limit_prepared_convolutions()
    assert os.environ.pop(VARIABLE) == str(MOST)
    assert MOST < 1024


def test_the_environment_has_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "7")
    limit_prepared_convolutions()
    assert os.environ[VARIABLE] == "7"
