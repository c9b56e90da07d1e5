"""Machines for so many images a day: the arithmetic, by hand, and the page that shows what it comes to."""

import contextlib
import io
import sys
from pathlib import Path

import pytest

from bench import capacity
from bench.capacity import Machine, Use, Workload

PAGE = Path(__file__).parents[3] / "docs" / "SCALING.md"
WORKLOAD = Workload(
    "any",
    "480×640",
    {"decode": 4, "resize": 6, "network": 90, "masks": 5, "encode": 3, "TorchServe": 2},
    kilobytes=250,
)


def test_without_a_gpu_the_cores_do_all_work() -> None:
    rates = Machine(cores=11, gigabits=1, hour=1).rates(WORKLOAD)
    assert rates == pytest.approx({"cores": 100, "network card": 500})  # 110 ms a core; 2 Mbit of 1 Gbit/s


def test_with_a_gpu_the_cores_do_the_rest() -> None:
    rates = Machine(cores=2, gigabits=10, hour=1, gpu_milliseconds=8).rates(WORKLOAD)
    assert rates == pytest.approx({"GPU": 125, "cores": 100, "network card": 5000})  # 20 ms a core


def test_machines_are_counted_for_the_busiest_hour() -> None:
    a_day = 86_400 * 100  # 100 a second in the mean
    assert Use("online", peak=3, load=0.5).machines(a_day, rate=100) == 6
    assert Use("bulk", peak=1, load=1).machines(a_day, rate=100) == 1
    assert Use("bulk", peak=1, load=1).machines(a_day + 86_400, rate=100) == 2


def printed_rows(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["capacity", *arguments])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        capacity.main()
    return [line for line in printed.getvalue().splitlines() if line.startswith("|")]


def test_the_page_shows_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    plain = printed_rows(monkeypatch)
    assert [line for line in plain if line not in shown] == []
    with_gpu = {*plain, *printed_rows(monkeypatch, "--gpu-ms", "8")}
    assert [line for line in shown if line not in with_gpu] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cores", "0"], "'0' is not a whole number, 1 or more"),
        (["--gpu-ms", "-3"], "'-3' is too small"),
        (["--load", "1.5"], "'1.5' is no share; expected a number above 0, at most 1"),
        (["--load", "0"], "'0' is no share"),
        (["--peak", "many"], "'many' is not a number"),
        (["--images", "nan"], "'nan' is not finite"),
    ],
)
def test_impossible_numbers_are_refused(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        printed_rows(monkeypatch, *arguments)
    assert said in capsys.readouterr().err
