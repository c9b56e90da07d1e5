"""Times a whole request, from JSON to torch, with one optimisation after the other: python -m bench.whole_request

The first row has the first server's steps with a stand-in for the reference network (see `bench.first_server`). All
rows have the same image, weights and detections. Each row also says how well the detections agree with float32's.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from tensormask_server import Detections, PredictionOptions, Predictor
from tensormask_server.network.norms import fold_norms
from tensormask_server.network.strategies import Everywhere
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import parse_request
from tensormask_server.responses.arrays import gzipped_torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import first_server
from bench.agreement import agreement
from bench.networks import ROOT, image_of, published_network, published_predictor
from bench.openvino import PRECISIONS, with_openvino
from bench.tables import Table, milliseconds

OPTIONS = PredictionOptions(score_threshold=0.05)
IMAGES = sorted((ROOT / "demo" / "images").glob("*.jpg"))  # for the ranges of int8: enough for its speed
LIMIT = "all convolutions as fast as the fastest, and nothing else"
CLASS_NAMES = tuple(str(number) for number in range(80))


def main() -> None:
    parser = argparse.ArgumentParser(description="Times whole requests, with one optimisation after the other.")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one-core", action="store_true", help="the process's own time: for a machine in use")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the table there, too")
    parsed = parser.parse_args()
    if parsed.one_core:
        torch.set_num_threads(1)
    table = measure(parsed.height, parsed.width, parsed.rounds, process_time if parsed.one_core else perf_counter)
    if parsed.one_core:
        table.name += "_one_core"
    table.show()
    if parsed.write:
        table.write(parsed.write)


def measure(height: int = 480, width: int = 640, rounds: int = 5, clock: Callable[[], float] = perf_counter) -> Table:
    body = json.dumps({"img_data": image_of(height, width).transpose(2, 0, 1).tolist()}).encode()
    everywhere = published_predictor(min_size=0, winograd=False, fused=False)
    everywhere.network.strategy = Everywhere()
    predictors = {
        "float32, everywhere, channels first": channels_first(
            published_predictor(min_size=0, winograd=False, fused=False)
        ),
        "+ channels last": everywhere,
        "+ only around the class tower's detections": published_predictor(min_size=0, winograd=False, fused=False),
        "+ ReLUs and additions in the convolutions": published_predictor(min_size=0, winograd=False),
        "+ 3×3 convolutions by Winograd's algorithm: the default": published_predictor(min_size=0),
        "bfloat16 instead": published_predictor(min_size=0, precision="bfloat16"),
        **{
            f"--engine openvino, {precision}": with_openvino(published_network(min_size=0), precision, IMAGES)
            for precision in PRECISIONS
        },
    }
    detections = {name: predicted(predictor, body) for name, predictor in predictors.items()}
    exact = next(iter(detections.values()))
    plain = published_network(min_size=0).eval()
    fold_norms(plain)
    first: list[float] = []
    ways: list[Callable[[], object]] = [
        lambda: first.append(1000 * first_server.request_seconds(plain, body, exact, clock)),
        *(lambda predictor=predictor: gzipped_torch(predicted(predictor, body)) for predictor in predictors.values()),
    ]
    times = milliseconds(ways, rounds, clock)
    times[0] = np.array(first[1:])
    table = Table(
        "whole_request",
        "A whole request, JSON in, torch out",
        ("what", "median, ms", "p90, ms", "faster", "detections paired", "mask IoU"),
        f"{height}×{width} pixels, not resized; R50 at its published width, synthetic weights, {len(exact)} masks; "
        f"{torch.get_num_threads()} threads; {rounds} rounds in turn",
    )
    base = float(np.median(times[0]))
    table.rows.append(("first server (network: 1.6 × its convolutions)", base, float(np.quantile(times[0], 0.9)), "1×"))
    table.rows[0] = (*table.rows[0], "", "")
    for spent, (name, found) in zip(times[1:], detections.items(), strict=True):
        alike, middle = agreement(found, exact), float(np.median(spent))
        pairs = f"{alike.paired} of {alike.expected}"
        row = (name, middle, float(np.quantile(spent, 0.9)), f"{base / middle:.1f}×", pairs, f"{alike.mask_iou:.4f}")
        table.rows.append(row)
    for name, dtype in (("limit, float32", torch.float32), ("limit, bfloat16", torch.bfloat16)):
        least = 1000 * operations_of_convolutions(plain, height, width) / fastest_convolution(dtype, clock)
        table.rows.append((f"{name}: {LIMIT}", least, least, f"{base / least:.1f}×", "", ""))
    return table


def operations_of_convolutions(network: TensorMask, height: int, width: int) -> float:
    """The floating-point operations of the convolutions, the masks' everywhere, which the first server computes."""
    with FlopCounterMode(display=False) as counter:
        first_server.convolutions(network, np.zeros((height, width, 3), np.uint8))
    return float(counter.get_total_flops())


@torch.inference_mode()
def fastest_convolution(dtype: torch.dtype, clock: Callable[[], float]) -> float:
    """Floating-point operations a second of torch's 3×3 convolution of 256 channels: the fastest of some runs."""
    layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # left out there
    x = torch.zeros(1, 256, 50, 68, dtype=dtype).contiguous(memory_format=torch.channels_last)
    [times] = milliseconds([lambda: layer(x)], 20, clock)
    return float(2 * 9 * 256 * 256 * 50 * 68 / (times.min() / 1000))


def channels_first(predictor: Predictor) -> Predictor:
    """The predictor, computing everywhere on maps of channels first, as torch does by default."""

    def contiguous(_: object, inputs: tuple[Tensor, object]) -> tuple[Tensor, object]:
        return inputs[0].contiguous(), inputs[1]

    predictor.network.strategy = Everywhere()
    for parameter in predictor.network.parameters():
        parameter.data = parameter.data.contiguous()
    predictor.network.register_forward_pre_hook(contiguous)
    return predictor


def predicted(predictor: Predictor, body: bytes) -> Detections:
    request = parse_request({"body": body}, {}, Limits(), CLASS_NAMES)
    return predictor([item.image for item in request.items], OPTIONS)[0]


if __name__ == "__main__":
    main()
