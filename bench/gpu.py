"""Measures on a GPU: the agreement with the reference in each precision, and the speed: python -m bench.gpu

Needs torch, numpy, Pillow, PyYAML and safetensors, and neither a network nor Java; bench/gpu.sh calls it.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.network.config import load_config
from tensormask_server.network.loading import load_weights
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.options import PRECISIONS
from tensormask_server.prediction.agreement import pair_detections
from tensormask_server.prediction.precision import exact_float32
from tensormask_server.prediction.predictor import GPU_BATCH_SIZE

from bench.agreement import agreement
from bench.networks import demo_predictor, image_of, published_predictor
from bench.tables import Table
from reference.cases import CASES, load_case
from reference.synthetic_weights import synthetic_state

LEAST_PAIRED, LEAST_MASK_IOU = 0.97, 0.98  # of the detections above 0.3, in half precision


def main() -> int:
    """Exit status 1 where a number isn't the reference's."""
    parser = argparse.ArgumentParser(description="Checks and times the network on a GPU.")
    parser.add_argument("--device", default="cuda:0", help="as torch names it (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--width", type=int, default=1333)
    parser.add_argument("--batch", type=int, default=GPU_BATCH_SIZE, help="images, %(default)s at most")
    parsed = parser.parse_args()
    device = torch.device(parsed.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} can't use a GPU here; --device cpu tries all of it on the CPU")
    if not 1 <= parsed.batch <= GPU_BATCH_SIZE:
        parser.error(f"--batch is {parsed.batch}; expected 1 to {GPU_BATCH_SIZE}, as more don't run together")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "a CPU"
    print(f"{card}, torch {torch.__version__}, Python {platform.python_version()}")
    parity, right = parity_table(parsed.device)
    parity.show()
    precision_table(parsed.device).show()
    speed_table(parsed.device, parsed.height, parsed.width, parsed.batch, parsed.rounds).show()
    return 0 if right else 1


def parity_table(device: str) -> tuple[Table, bool]:
    """The reference's detections in float32, and whether all of them are found."""
    table = Table("gpu_parity", "The reference's detections, float32", ("case", "expected", "paired"), device)
    for name in CASES:
        case = load_case(name)
        network = TensorMask(load_config(case.config))
        state = synthetic_state(case.shapes, case.seed)
        load_weights(network, {entry: torch.from_numpy(array) for entry, array in state.items()})
        [detections] = Predictor(network, torch.device(device), torch.float32)([case.image])
        same = sum(pair.is_same for pair in pair_detections(detections, case.expected))
        table.rows.append((name, len(case.expected), same))
    return table, all(expected == same for _, expected, same in table.rows)


def precision_table(device: str) -> Table:
    """How much the demo's network finds what float32 finds, in each precision."""
    table = Table(
        "gpu_precision",
        "The demo's network beside float32",
        ("precision", "paired", "mask IoU", "as promised"),
        f"{device}; promised: {LEAST_PAIRED:.0%} of the detections above 0.3 paired, masks of IoU {LEAST_MASK_IOU}",
    )
    image, options = image_of(640, 640), PredictionOptions(score_threshold=0.1)
    [exact] = demo_predictor(device=device)([image], options)
    for precision in PRECISIONS:
        [detections] = demo_predictor(precision, device)([image], options)
        alike = agreement(detections, exact)
        promised = alike.paired >= LEAST_PAIRED * alike.expected and alike.mask_iou >= LEAST_MASK_IOU
        row = (precision, f"{alike.paired} of {alike.expected}", f"{alike.mask_iou:.4f}", "yes" if promised else "NO")
        table.rows.append(row)
    return table


def speed_table(device: str, height: int, width: int, batch: int, rounds: int) -> Table:
    table = Table(
        "gpu_speed",
        "The published network: network, selection and masks on the image",
        ("precision", "batch", "only the network, ms", "all, ms", "p90, ms", "images/s", "faster than float32"),
        f"{device}, R50 at {height}×{width}, not resized, synthetic weights, 100 masks an image, median of {rounds}",
    )
    image, options = image_of(height, width), PredictionOptions(score_threshold=0.05)
    base: dict[int, float] = {}
    for precision in PRECISIONS:
        predictor = published_predictor(0, precision, device)
        for count in (1, batch):
            whole = timed(partial(predictor, [image] * count, options), device, rounds)
            only_network = timed(partial(convolve, predictor, count, height, width), device, rounds)
            middle = statistics.median(whole)
            base.setdefault(count, middle)
            rate = 1000 * count / middle
            table.rows.append(
                (
                    precision,
                    count,
                    statistics.median(only_network),
                    middle,
                    float(np.quantile(whole, 0.9)),
                    rate,
                    f"{base[count] / middle:.1f}×",
                )
            )
    return table


@torch.inference_mode()
def convolve(predictor: Predictor, count: int, height: int, width: int) -> None:
    """The backbone and what predicts classes and boxes everywhere, on images that are on the device already."""
    network = predictor.network
    padded = [-(-side // network.stride) * network.stride for side in (height, width)]
    images = torch.zeros(count, 3, *padded, dtype=predictor.dtype, device=predictor.device)
    with exact_float32(predictor.device):  # as the predictor does
        features = network.features(images.contiguous(memory_format=torch.channels_last))
        network.head.class_logits(features)
        network.head.box_deltas(features)


def timed(way: Callable[[], object], device: str, rounds: int) -> list[float]:
    """Milliseconds, after three rounds that aren't counted, with the device's work done."""
    times = []
    for number in range(rounds + 3):
        start = time.perf_counter()
        way()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        if number >= 3:
            times.append(1000 * (time.perf_counter() - start))
    return times


if __name__ == "__main__":
    sys.exit(main())
