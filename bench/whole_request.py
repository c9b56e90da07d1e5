"""Times a whole request, from JSON to torch, with one optimisation after the other: python -m bench.whole_request

The first row has the first server's steps with a stand-in for the reference network (see `bench.first_server`). All
rows have the same image, weights and detections, but for that of a JPEG, which is answered by COCO's results. The other
rows also say how well the detections agree with float32's.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
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
from tensormask_server.responses.encoding import encode
from tensormask_server.responses.options import ResponseOptions
from tensormask_server.responses.result import Model, Result
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import first_server
from bench.agreement import agreement
from bench.around_the_network import jpeg_of
from bench.networks import image_of, published_network, published_predictor
from bench.openvino import IMAGES, PRECISIONS, with_openvino
from bench.rates import fastest_operations
from bench.results import RESULTS, publish
from bench.tables import Table, growing_milliseconds

OPTIONS = PredictionOptions(score_threshold=0.05)
HEIGHT, WIDTH = 480, 640  # of the image, in `make bench`
FIRST_SERVER = "first server (network: 1.6 × its convolutions)"
LIMIT = "all convolutions as fast as the fastest, and nothing else"
FASTEST = "--engine openvino, int8"
AS_FILE = f"{FASTEST}; a JPEG in, COCO out"
CLASS_NAMES = tuple(str(number) for number in range(80))


def main() -> None:
    parser = argparse.ArgumentParser(description="Times whole requests, with one optimisation after the other.")
    parser.add_argument("--height", type=int, default=HEIGHT)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one-core", action="store_true", help="the process's own time: for a machine in use")
    parser.add_argument("--results", type=Path, metavar="FOLDER", default=RESULTS, help="(default: %(default)s)")
    parsed = parser.parse_args()
    publish(measure(parsed.height, parsed.width, parsed.rounds, parsed.one_core), parsed.results)


def measure(height: int = HEIGHT, width: int = WIDTH, rounds: int = 5, one_core: bool = False) -> Iterator[Table]:
    """The table after each round."""
    if one_core:
        torch.set_num_threads(1)
    clock = process_time if one_core else perf_counter
    body = request_body(height, width)
    predictors = {name: make() for name, make in WAYS.items()}
    detections = {name: predicted(predictor, body) for name, predictor in predictors.items()}
    exact = next(iter(detections.values()))
    plain = published_network(min_size=0).eval()
    fold_norms(plain)
    first: list[float] = []
    ways: list[Callable[[], object]] = [
        lambda: first.append(1000 * first_server.request_seconds(plain, body, exact, clock)),
        *(lambda predictor=predictor: gzipped_torch(predicted(predictor, body)) for predictor in predictors.values()),
        partial(as_file, predictors[FASTEST], jpeg_of(image_of(height, width))),
    ]
    operations = operations_of_convolutions(plain, height, width)
    limits = {each: 1000 * operations / fastest_operations(each, clock) for each in PRECISIONS}
    parts = ["whole_request"] + ["one_core"] * one_core + [f"{height}x{width}"] * ((height, width) != (HEIGHT, WIDTH))
    for times in growing_milliseconds(ways, rounds, clock):
        times[0] = np.array(first[1:])
        table = Table(
            "_".join(parts),
            f"A whole request, JSON in, torch out, {height}×{width}{', on one core' if one_core else ''}",
            ("what", "median, ms", "p90, ms", "faster", "detections paired", "mask IoU"),
            f"{height}×{width} pixels, not resized; R50 at its published width, synthetic weights, {len(exact)} masks; "
            f"rounds in turn: {len(times[0])}{', in time of the process' if one_core else ''}",
        )
        base = float(np.median(times[0]))
        table.rows.append((FIRST_SERVER, base, float(np.quantile(times[0], 0.9)), "1×", "", ""))
        for spent, name in zip(times[1:], (*detections, AS_FILE), strict=True):
            agreed = ("", "")
            if name in detections:  # a JPEG is another image
                alike = agreement(detections[name], exact)
                agreed = (f"{alike.paired} of {alike.expected}", f"{alike.mask_iou:.4f}")
            middle, slow = float(np.median(spent)), float(np.quantile(spent, 0.9))
            table.rows.append((name, middle, slow, f"{base / middle:.1f}×", *agreed))
        for name, least in limits.items():
            table.rows.append((f"limit, {name}: {LIMIT}", least, least, f"{base / least:.1f}×", "", ""))
        yield table


def request_body(height: int, width: int) -> bytes:
    """The published JSON of an image."""
    return json.dumps({"img_data": image_of(height, width).transpose(2, 0, 1).tolist()}).encode()


def operations_of_convolutions(network: TensorMask, height: int, width: int) -> float:
    """The floating-point operations of the convolutions, the masks' everywhere, which the first server computes."""
    with FlopCounterMode(display=False) as counter:
        first_server.convolutions(network, np.zeros((height, width, 3), np.uint8))
    return float(counter.get_total_flops())


def native(precision: str = "float32", winograd: bool = True, fused: bool = True) -> Predictor:
    return published_predictor(min_size=0, precision=precision, winograd=winograd, fused=fused)


def everywhere() -> Predictor:
    """Without the fused convolutions, computing boxes and masks at every location."""
    predictor = native(winograd=False, fused=False)
    predictor.network.strategy = Everywhere()
    return predictor


def published_with_openvino(precision: str) -> Predictor:
    return with_openvino(published_network(min_size=0), precision, IMAGES)


def channels_first() -> Predictor:
    """The same on maps of channels first, as torch has them by default."""

    def contiguous(_: object, inputs: tuple[Tensor, object]) -> tuple[Tensor, object]:
        return inputs[0].contiguous(), inputs[1]

    predictor = everywhere()
    for parameter in predictor.network.parameters():
        parameter.data = parameter.data.contiguous()
    predictor.network.register_forward_pre_hook(contiguous)
    return predictor


def predicted(predictor: Predictor, body: bytes) -> Detections:
    return predictor([parsed(body)], OPTIONS)[0]


def as_file(predictor: Predictor, jpeg: bytes) -> bytes:
    """The body of COCO's results of a JPEG."""
    image = parsed(jpeg)
    model = Model("bench", CLASS_NAMES, "")
    result = Result(image, predictor([image], OPTIONS)[0], model, response=ResponseOptions("coco"))
    return encode(result)


def parsed(body: bytes) -> np.ndarray:
    """The image of a request."""
    [item] = parse_request({"body": body}, {}, Limits(), CLASS_NAMES).items
    assert isinstance(item.image, np.ndarray)
    return item.image


WAYS: dict[str, Callable[[], Predictor]] = {
    "float32, everywhere, channels first": channels_first,
    "+ channels last": everywhere,
    "+ only around the class tower's detections": lambda: native(winograd=False, fused=False),
    "+ ReLUs and additions in the convolutions": lambda: native(winograd=False),
    "+ 3×3 convolutions by Winograd's algorithm: the default": native,
    "bfloat16 instead": lambda: native("bfloat16"),
    **{f"--engine openvino, {precision}": partial(published_with_openvino, precision) for precision in PRECISIONS},
}


if __name__ == "__main__":
    main()
