"""Times the stages of a request on one core, and counts the bytes of request and response: python -m bench.core_time

Times are the process's own, so that others on the machine hardly count. bench.capacity computes machines from them.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.requests.parsing import parse_request
from tensormask_server.responses.encoding import encode
from tensormask_server.responses.result import Model, Result
from tensormask_server.timing import Stopwatch

from bench.around_the_network import jpeg_of
from bench.networks import demo_network, demo_predictor, image_of, published_network, published_predictor
from bench.openvino import IMAGES, with_openvino
from bench.results import RESULTS, publish
from bench.stages import CLASS_NAMES, LARGEST, STAGES
from bench.tables import Table

SIZES = ((480, 640), (960, 1280), (1680, 2240))  # height, width
MASKS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what images cost one core.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, metavar="FOLDER", default=RESULTS, help="(default: %(default)s)")
    parsed = parser.parse_args()
    publish(measure(parsed.rounds), parsed.results)


def measure(rounds: int = 3) -> Iterator[Table]:
    """The table after each row."""
    demo_size = demo_network().config.input.min_size
    table = Table(
        "core_time",
        "What an image costs one core",
        ("network", "pixels", *(f"{stage}, ms" for stage in STAGES), "request, kB", "response, kB"),
        f"the process's own time with one thread, JPEG in, COCO out, at most {MASKS} masks, median of {rounds}; "
        f"images are resized as the configuration says, the demo's to {demo_size} pixels, the published one's to 800",
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, make in WAYS.items():
            predictor = make()
            for height, width in SIZES:
                table.rows.append((name, f"{height}×{width}", *cost(predictor, height, width, rounds)))
                yield table
    finally:
        torch.set_num_threads(threads)


def cost(predictor: Predictor, height: int, width: int, rounds: int) -> list[float]:
    """Milliseconds of each stage, and kilobytes of request and response."""
    tile = image_of(512, 512)  # repeated and not enlarged, because a larger image would be smooth and its JPEG small
    jpeg = jpeg_of(np.tile(tile, (height // 512 + 1, width // 512 + 1, 1))[:height, :width])
    options = PredictionOptions(score_threshold=0.05, max_detections=MASKS)
    spent = []
    for _ in range(rounds + 1):
        stopwatch = Stopwatch(time.process_time)
        with stopwatch("decode"):
            [item] = parse_request({"body": jpeg}, {}, LARGEST, CLASS_NAMES).items
        [detections] = predictor([item.image], options, stopwatch)
        with stopwatch("encode"):
            body = encode(Result(item.image, detections, Model("bench", CLASS_NAMES, "")))
        spent.append([1000 * stopwatch.seconds[stage] for stage in STAGES])
    return [*np.median(spent[1:], axis=0).tolist(), len(jpeg) / 1000, len(body) / 1000]


WAYS: dict[str, Callable[[], Predictor]] = {
    "demo's, float32": demo_predictor,
    "demo's, bfloat16": partial(demo_predictor, "bfloat16"),
    "demo's, int8 by OpenVINO": lambda: with_openvino(demo_network(), "int8", IMAGES),
    "published R50, float32": partial(published_predictor, 800),
    "published R50, bfloat16": partial(published_predictor, 800, "bfloat16"),
    "published R50, int8 by OpenVINO": lambda: with_openvino(published_network(800), "int8", IMAGES),
}


if __name__ == "__main__":
    main()
