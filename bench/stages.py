"""Each stage of a request, JPEG in and COCO out, and how it grows: python -m bench.stages

With the demo's network, on pictures that aren't resized, on one core.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.options import HandlerOptions
from tensormask_server.requests import parse_request
from tensormask_server.responses import Found, Model, encode
from tensormask_server.timing import Stopwatch

from bench.around_the_network import jpeg_of
from bench.networks import demo_predictor, picture_of
from bench.tables import Table

STAGES = ("decode", "resize", "network", "masks", "encode")
SIDES = (256, 384, 512, 768, 1024, 1536)
COUNTS = (1, 10, 30, 100)
LARGEST = HandlerOptions(score_threshold=0.0)
MODEL = Model("demo", tuple(str(number) for number in range(20)), "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the stages of a request, by pictures' size and by masks.")
    parser.add_argument("--rounds", type=int, default=5)
    for table in measure(parser.parse_args().rounds):
        table.show()


def measure(rounds: int = 5) -> list[Table]:
    """By the picture's size with 30 masks, and by the number of masks at 480×640."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        predictor = not_resizing(demo_predictor())
        by_size = Table(
            "by_size",
            "Cost by size of the picture",
            ("pixels", *(f"{stage}, ms" for stage in STAGES), "p90 of all, ms"),
            f"the demo's network on pictures that aren't resized, 30 masks, one core, median of {rounds}",
        )
        for side in SIDES:
            by_size.rows.append(row(f"{side}×{side}", predictor, picture_of(side, side), 30, rounds))
        by_count = Table(
            "by_masks",
            "Cost by number of masks",
            ("masks", *by_size.columns[1:]),
            f"the same at 480×640 pixels, median of {rounds}",
        )
        for count in COUNTS:
            by_count.rows.append(row(str(count), predictor, picture_of(480, 640), count, rounds))
        return [by_size, by_count]
    finally:
        torch.set_num_threads(threads)


def not_resizing(predictor: Predictor) -> Predictor:
    """The same network, taking pictures at their own size."""
    config = predictor.config
    predictor.network.config = replace(config, input=replace(config.input, min_size=0))
    return predictor


def row(name: str, predictor: Predictor, picture: np.ndarray, count: int, rounds: int) -> Sequence[object]:
    jpeg = jpeg_of(picture)
    spent: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(rounds + 1):
        stopwatch = Stopwatch()
        with stopwatch("decode"):
            [item] = parse_request({"body": jpeg}, {}, LARGEST, MODEL.class_names).items
        options = PredictionOptions(score_threshold=0.0, max_detections=count)
        [detections] = predictor([item.picture], options, stopwatch)
        with stopwatch("encode"):
            encode(Found(item.picture, detections, MODEL), "coco")
        for stage in STAGES:
            spent[stage].append(1000 * stopwatch.seconds[stage])
    times = np.array([spent[stage][1:] for stage in STAGES])  # (stages, rounds)
    return (name, *np.median(times, axis=1).tolist(), float(np.quantile(times.sum(axis=0), 0.9)))


if __name__ == "__main__":
    main()
