"""Says where the time of one request goes in each precision, and what the CPU could do: python -m bench.request_profile

The parts are those of a request with JSON in and torch out. TorchServe's part is that of a real server of the demo's
network, whose requests and responses are as large. The others are timed in this process.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from tensormask_server import Predictor
from tensormask_server.responses.arrays import gzipped_torch
from tensormask_server.timing import Stopwatch
from torch import nn

from bench.networks import published_network
from bench.openvino import PRECISIONS
from bench.rates import fastest_operations
from bench.results import RESULTS, publish
from bench.served import outside_the_handler, serving
from bench.tables import Table
from bench.whole_request import (
    OPTIONS,
    native,
    operations_of_convolutions,
    parsed,
    published_with_openvino,
    request_body,
)

PARTS = {
    "JSON": "JSON to an image",
    "resize": "nothing here: the images aren't resized",
    "everywhere": "convolutions at every location",
    "selection": "the selection of detections, with their boxes",
    "masks": "the masks' convolutions and products",
    "paste": "masks on the image",
    "torch": "torch's file, gzipped",
}
WAYS: dict[str, tuple[str, Callable[[], Predictor]]] = {  # with the precision that bounds the convolutions
    "float32": ("float32", native),
    "bfloat16": ("bfloat16", lambda: native("bfloat16")),
    **{
        f"--engine openvino, {precision}": (precision, partial(published_with_openvino, precision))
        for precision in PRECISIONS
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Says where the time of one request goes.")
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--width", type=int, default=1066)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one-core", action="store_true", help="the process's own time: for a machine in use")
    parser.add_argument("--results", type=Path, metavar="FOLDER", default=RESULTS, help="(default: %(default)s)")
    given = parser.parse_args()
    publish(measure(given.height, given.width, given.rounds, given.one_core), given.results)


def measure(height: int = 800, width: int = 1066, rounds: int = 5, one_core: bool = False) -> Iterator[Table]:
    """The table after each row."""
    if one_core:
        torch.set_num_threads(1)
    clock = process_time if one_core else perf_counter
    body = request_body(height, width)
    operations = operations_of_convolutions(published_network(min_size=0).eval(), height, width)
    shown = [name for name in PARTS if name != "resize"]
    table = Table(
        "request_profile_one_core" if one_core else "request_profile",
        f"Where the time of a request goes{', on one core' if one_core else ''}",
        ("what", "TorchServe", *shown, "all", "convolutions at best", "GFLOP/s at best"),
        f"milliseconds, medians of {rounds}; JSON in, torch out, {height}×{width} pixels, not resized; R50 at its "
        f"published width, synthetic weights; {'; '.join(f'{name}: {PARTS[name]}' for name in shown)}; convolutions at "
        f"best: their {operations / 1e9:.0f} GFLOP everywhere, as fast as the fastest multiplication",
    )
    around = torchserves_part(body, rounds)
    rates: dict[str, float] = {}
    for name, (precision, make) in WAYS.items():
        if precision not in rates:
            rates[precision] = fastest_operations(precision, clock)
        parts = medians_of_parts(make(), body, rounds, clock)
        times = [around, *(parts[part] for part in shown)]
        best = 1000 * operations / rates[precision]
        table.rows.append((name, *times, sum(times), best, rates[precision] / 1e9))
        yield table


def torchserves_part(body: bytes, rounds: int) -> float:
    """Milliseconds between a client's request and its response that the handler doesn't have: the median."""
    headers = {"Content-Type": "application/json", "Score-Threshold": "0"}
    with serving(workers=1) as server:
        return float(np.median([outside_the_handler(server, body, headers) for _ in range(rounds + 1)][1:]))


def medians_of_parts(predictor: Predictor, body: bytes, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of each of the PARTS."""
    spent = [_parts(predictor, body, Stopwatch(clock)) for _ in range(rounds + 1)][1:]
    return {part: float(np.median([1000 * each[part] for each in spent])) for part in PARTS}


def _parts(predictor: Predictor, body: bytes, stopwatch: Stopwatch) -> dict[str, float]:
    """Seconds of each of the PARTS in one request."""
    network = predictor.network
    everywhere: list[tuple[Any, str]] = [(network, "features"), (network.head, "class_logits")]
    if network.graph is not None:
        everywhere = [(network.graph, "forward")]
    with stopwatch("JSON"):
        image = parsed(body)
    with ExitStack() as timing:
        for owner, method in everywhere:
            timing.enter_context(_timing(stopwatch, "everywhere", owner, method))
        timing.enter_context(_timing(stopwatch, "selection", network, "_detect"))
        [detections] = predictor([image], OPTIONS, stopwatch)
    with stopwatch("torch"):
        gzipped_torch(detections)
    seconds = dict(stopwatch.seconds)
    seconds["paste"] = seconds.pop("masks")
    seconds["masks"] = seconds["network"] - seconds["everywhere"] - seconds["selection"]
    return seconds


@contextmanager
def _timing(stopwatch: Stopwatch, part: str, owner: nn.Module, method: str) -> Iterator[None]:
    """Counts the time of an object's method as a part of a request."""
    function = getattr(owner, method)

    def run(*arguments: object) -> object:
        with stopwatch(part):
            return function(*arguments)

    setattr(owner, method, run)
    try:
        yield
    finally:
        delattr(owner, method)


if __name__ == "__main__":
    main()
