"""Each stage of a request, JPEG in and COCO out, and how it grows: python -m bench.stages

With the demo's network, on images that aren't resized, on one core.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.network.detection import Selection, best_locations, candidates_at, deltas_of, detect
from tensormask_server.options import Limits
from tensormask_server.prediction.inputs import normalised_batch
from tensormask_server.requests.parsing import parse_request
from tensormask_server.responses.encoding import encode
from tensormask_server.responses.result import Model, Result
from tensormask_server.timing import Stopwatch

from bench.around_the_network import jpeg_of
from bench.networks import demo_predictor, image_of, published_predictor
from bench.tables import Table

STAGES = ("decode", "resize", "network", "masks", "encode")
SIDES = (256, 384, 512, 768, 1024, 1536)
COUNTS = (1, 10, 30, 100)
LARGEST = Limits()
CLASS_NAMES = tuple(str(number) for number in range(80))
MODEL = Model("demo", CLASS_NAMES[:20], "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the stages of a request, by images' size and by masks.")
    parser.add_argument("--rounds", type=int, default=5)
    for table in measure(parser.parse_args().rounds):
        table.show()


def measure(rounds: int = 5) -> list[Table]:
    """All but the convolutions; by the image's size with 30 masks; and by the number of masks at 480×640."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        predictor = not_resizing(demo_predictor())
        by_size = Table(
            "by_size",
            "Cost by size of the image",
            ("pixels", *(f"{stage}, ms" for stage in STAGES), "p90 of all, ms"),
            f"the demo's network on images that aren't resized, 30 masks, one core, median of {rounds}",
        )
        for side in SIDES:
            by_size.rows.append(row(f"{side}×{side}", predictor, image_of(side, side), 30, rounds))
        by_count = Table(
            "by_masks",
            "Cost by number of masks",
            ("masks", *by_size.columns[1:]),
            f"the same at 480×640 pixels, median of {rounds}",
        )
        for count in COUNTS:
            by_count.rows.append(row(str(count), predictor, image_of(480, 640), count, rounds))
        return [but_the_network(rounds), by_size, by_count]
    finally:
        torch.set_num_threads(threads)


def but_the_network(rounds: int) -> Table:
    """A request at 480×640 with 100 masks beside its convolutions, with trained weights and with synthetic ones."""
    trained = _but_the_network(not_resizing(demo_predictor()), rounds)
    synthetic = _but_the_network(published_predictor(min_size=0), rounds)
    table = Table(
        "but_the_network",
        "Everything but the convolutions",
        ("stage", "demo's, ms", "p90, ms", "synthetic, ms", "p90, ms"),
        "480×640 pixels, JPEG in, COCO out, not resized, one core, the 100 best masks with scores above 0.05: of the "
        "demo's network, and of the published one with synthetic weights, whose masks are ragged and all over the "
        f"image; median of {rounds}; what TorchServe adds stands in the server's table",
    )
    for stage in trained:
        row: list[object] = [stage]
        for times in (trained[stage], synthetic[stage]):
            row += [float(np.median(times)), float(np.quantile(times, 0.9))]
        table.rows.append(row)
    return table


def _but_the_network(predictor: Predictor, rounds: int) -> dict[str, np.ndarray]:
    """The milliseconds of each stage, and of all together, in each round."""
    network, config = predictor.network, predictor.config
    jpeg = jpeg_of(image_of(480, 640))
    with torch.inference_mode():
        batch = normalised_batch([image_of(480, 640)], config.input, network.stride, predictor.device)
        features = network.features(batch.to(predictor.dtype))
        logits = [each[0] for each in network.head.class_logits(features)]
        deltas = deltas_of([each[0] for each in network.head.box_deltas(features)])
    anchors = [network.get_buffer(f"cell_anchors_{level}") for level in range(len(network.strides))]
    with_boxes = partial(
        candidates_at,
        box_deltas=deltas,
        cell_anchors=anchors,
        strides=network.strides,
        bbox_reg_weights=config.detection.bbox_reg_weights,
    )
    spent: dict[str, list[float]] = {stage: [] for stage in ("decode", "resize", "select", "masks", "encode")}
    for _ in range(rounds + 1):
        stopwatch = Stopwatch()
        with stopwatch("decode"):
            [item] = parse_request({"body": jpeg}, {}, LARGEST, CLASS_NAMES).items
        options = PredictionOptions(score_threshold=0.05, max_detections=100)
        [detections] = predictor([item.image], options, stopwatch)
        with stopwatch("select"), torch.inference_mode():
            selection = Selection(0.05, config.detection.nms_threshold, 100)
            locations = best_locations(logits, len(anchors[0]), selection, config.detection.topk_candidates)
            detect(locations, with_boxes, selection)
        with stopwatch("encode"):
            encode(Result(item.image, detections, Model("bench", CLASS_NAMES, "")))
        for stage, times in spent.items():
            times.append(1000 * stopwatch.seconds[stage])
    each = {stage: np.array(times[1:]) for stage, times in spent.items()}
    return {**each, "**together**": np.sum(list(each.values()), axis=0)}


def not_resizing(predictor: Predictor) -> Predictor:
    """The same network, taking images at their own size."""
    config = predictor.config
    predictor.network.config = replace(config, input=replace(config.input, min_size=0))
    return predictor


def row(name: str, predictor: Predictor, image: np.ndarray, count: int, rounds: int) -> Sequence[object]:
    jpeg = jpeg_of(image)
    spent: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(rounds + 1):
        stopwatch = Stopwatch()
        with stopwatch("decode"):
            [item] = parse_request({"body": jpeg}, {}, LARGEST, MODEL.class_names).items
        options = PredictionOptions(score_threshold=0.0, max_detections=count)
        [detections] = predictor([item.image], options, stopwatch)
        with stopwatch("encode"):
            encode(Result(item.image, detections, MODEL))
        for stage in STAGES:
            spent[stage].append(1000 * stopwatch.seconds[stage])
    times = np.array([spent[stage][1:] for stage in STAGES])  # (stages, rounds)
    return (name, *np.median(times, axis=1).tolist(), float(np.quantile(times.sum(axis=0), 0.9)))


if __name__ == "__main__":
    main()
