"""What a training shows while it runs: a bar with the losses, lines of metrics.jsonl, and TensorBoard's event files."""

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from bench.evaluate import table
from training.event_files import event_files
from training.validation import Validated

METRICS = "metrics.jsonl"
PERIOD = 20  # iterations over which losses are averaged


class Report:
    """A bar with the losses and the time left. The same numbers go to metrics.jsonl and to TensorBoard's event files.

    A line of metrics.jsonl has "iteration" (how many are done), "lr", each loss as the mean since the line before, and
    "seconds" since the command's start. A validation adds a line with "iteration", "box AP", "box AP50", "mask AP" and
    "mask AP50".
    """

    def __init__(self, out: Path, done: int, total: int, is_shown: bool):
        """
        Args:
            out: the folder of metrics.jsonl and of the event files.
            done: iterations of earlier commands.
            total: iterations of the whole training.
            is_shown: False for the other processes of several, which report nothing.
        """
        self._is_shown = is_shown
        self._done = done
        self._rate = 0.0
        self._summed = 0
        self._sums: dict[str, float] = {}
        self._started = time.monotonic()
        if is_shown:
            out.mkdir(parents=True, exist_ok=True)
            self._path = out / METRICS
            self._events = event_files(out, done)
            self._bar = tqdm(total=total, initial=done, unit="step", smoothing=0.05, dynamic_ncols=True)

    def add(self, rate: float, losses: Mapping[str, float]) -> None:
        """Counts one iteration.

        Args:
            rate: the learning rate.
            losses: by name.
        """
        if not self._is_shown:
            return
        self._bar.update()
        self._done += 1
        self._rate = rate
        self._summed += 1
        self._sums = {name: self._sums.get(name, 0) + loss for name, loss in losses.items()}
        if self._done % PERIOD == 0:
            self._write()

    def add_validation(self, validated: Validated, is_best: bool) -> None:
        """Prints AP as bench/evaluate.py does, and writes it into a line of metrics.jsonl, in percent.

        Args:
            validated: the scores, and some of the images with what was detected on them.
            is_best: whether these weights are the best so far.
        """
        best = ", the best so far" if is_best else ""
        scores = validated.scores
        self._bar.write(f"validation after iteration {self._done}{best}:\n{table(scores)}", sys.stderr)
        values: dict[str, float | None] = {}
        for kind, each in (("box", scores.boxes), ("mask", scores.masks)):
            for name, value in () if each is None else ((f"{kind} AP", each.ap), (f"{kind} AP50", each.ap50)):
                values[name] = None if math.isnan(value) else round(100 * value, 4)
        self._append({"iteration": self._done, **values})
        if self._events is not None:
            numbers = {f"validation/{name}": value for name, value in values.items() if value is not None}
            self._events.add_numbers(numbers, self._done)
            self._events.add_images(validated.drawn, self._done)

    def close(self) -> None:
        """Writes the line of the last iterations, and ends the bar."""
        if self._is_shown:
            if self._summed:
                self._write()
            self._bar.close()
            if self._events is not None:
                self._events.close()

    def _write(self) -> None:
        means = {name: round(total / self._summed, 4) for name, total in self._sums.items()}
        self._bar.set_postfix(means)
        seconds = round(time.monotonic() - self._started, 1)
        line = {"iteration": self._done, "lr": self._rate, **means, "seconds": seconds}
        self._append(line)
        if self._events is not None:
            losses = {f"loss/{name}": mean for name, mean in means.items()}
            self._events.add_numbers({**losses, "learning rate": self._rate}, self._done)
        self._summed, self._sums = 0, {}

    def _append(self, line: Mapping[str, object]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
