"""Times several ways of doing the same work, in turn, and shows the times in tables."""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Table:
    """Rows of numbers and texts under a title. `note` says what was measured, and with what."""

    name: str  # of its file
    title: str
    columns: Sequence[str]
    note: str
    rows: list[Sequence[object]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)

    def show(self) -> None:
        print(f"\n{self.title}\n{self.note}\n\n{self.markdown()}", flush=True)

    def write(self, folder: Path) -> None:
        with (folder / f"{self.name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([self.columns, *self.rows])


def milliseconds(
    ways: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[np.ndarray]:
    """Times each way `rounds` times, with the arguments of `growing_milliseconds`."""
    *_, times = growing_milliseconds(ways, rounds, clock)
    return times


def growing_milliseconds(
    ways: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Iterator[list[np.ndarray]]:
    """Times the ways, after one round that isn't counted, and gives the times so far after each round.

    The ways take turns, so that a machine that is busy for a while slows down all of them.

    Args:
        clock: gives seconds. `time.process_time` leaves out what other processes take of the machine.
    """
    times: list[list[float]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for spent, way in zip(times, ways, strict=True):
            start = clock()
            way()
            spent.append(1000 * (clock() - start))
        if number:
            yield [np.array(spent[1:]) for spent in times]


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)
