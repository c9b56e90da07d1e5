"""Memory of requests over that of the loaded model: python -m bench.memory

The published network on 800×1333 pixels, in a process of its own; then the demo's network, again and again.
"""

import argparse
import ctypes
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import torch
from tensormask_server import PredictionOptions, Predictor

from bench.networks import demo_predictor, image_of, published_predictor
from bench.tables import Table

MEGABYTE = 1e6
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the memory that requests take.")
    parser.add_argument("--requests", type=int, default=200, help="of the demo's network (default: %(default)s)")
    measure(parser.parse_args().requests).show()


def measure(requests: int = 200) -> Table:
    table = Table(
        "memory",
        "Memory of requests over that of the loaded model",
        ("what", "MB"),
        "resident memory of a process with only the model, 100 masks; no server around it",
    )
    for precision in ("float32", "bfloat16"):
        peak = in_its_own_process(peak_of_one_request, precision)
        table.rows.append((f"peak of one request, R50 at 800×1333, {precision}", peak))
    growth = in_its_own_process(growth_over_requests, requests)
    table.rows.append((f"from request 20 to request {requests}, the demo's network, 512×512 and 384×640", growth))
    return table


def in_its_own_process(measured: Callable[..., T], argument: object) -> T:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (argument,))


def peak_of_one_request(precision: str) -> float:
    """In megabytes, over what is resident when the model is loaded and warm from a small image."""
    predictor = published_predictor(min_size=800, precision=precision)
    find_many(predictor, image_of(64, 64))
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far, that of loading
    before = psutil.Process().memory_info().rss
    find_many(predictor, image_of(800, 1333))
    return (peak_memory() - before) / MEGABYTE


def peak_memory() -> float:
    """In bytes, of this process; `ru_maxrss` would also be that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * float(status.partition("VmHWM:")[2].split()[0])


def growth_over_requests(requests: int) -> float:
    """In megabytes."""
    torch.set_num_threads(1)
    predictor = demo_predictor()
    process, after_few = psutil.Process(), 0
    for number in range(requests):
        find_many(predictor, image_of(*((512, 512), (384, 640))[number % 2]))
        if number == 20:
            after_few = process.memory_info().rss
    return float(process.memory_info().rss - after_few) / MEGABYTE


def find_many(predictor: Predictor, image: np.ndarray) -> None:
    predictor([image], PredictionOptions(score_threshold=0.05))


if __name__ == "__main__":
    main()
