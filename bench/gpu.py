"""Measures on a GPU: the agreement with the reference in each precision, operations, and speed: python -m bench.gpu

Needs torch, numpy, Pillow, PyYAML and safetensors, and neither a network nor Java; bench/gpu.sh calls it.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.network.config import load_config
from tensormask_server.network.loading import load_weights
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.options import GPU_BATCH_SIZE, PRECISIONS
from tensormask_server.prediction.agreement import pair_detections
from tensormask_server.prediction.cpu import emulates
from tensormask_server.prediction.precision import DTYPES

from bench.agreement import agreement
from bench.gpu_paths import Times, Way, counts, measured, predictor_of, ways, with_gpu_path
from bench.networks import demo_predictor, image_of
from bench.tables import Table
from reference.cases import CASES, load_case
from reference.synthetic_weights import synthetic_state

RESULTS = Path(__file__).parent / "results"
LEAST_PAIRED, LEAST_MASK_IOU = 0.97, 0.98  # of the detections above 0.3, in half precision
MOST_OPERATIONS, MOST_COPIES = 450, 4
# the goals for 800×1333 pixels on an H100: ms of one image, images a second of a batch, times as fast as eager float32
MOST_MS, LEAST_RATE, LEAST_FASTER = 8, 250, 5


def main() -> int:
    """Exit status 1 where a number isn't the reference's, or an image takes too many operations."""
    parsed = _parsed()
    device = torch.device(parsed.device)
    about = f"{card(device)}, torch {torch.__version__}, Python {platform.python_version()}"
    print(about)
    parity, same = parity_table(device)
    precisions, promised = precision_table(device, parsed.side)
    operations, few = operations_table(device, parsed.height, parsed.width, parsed.batch)
    speed = speed_table(device, parsed.height, parsed.width, parsed.batch, parsed.rounds, parsed.seconds)
    tables = [parity, precisions, operations, speed]
    if parsed.output is not None:
        write(tables, about, parsed.output)
    return 0 if same and promised and few else 1


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Checks and times the network on a GPU.")
    add = parser.add_argument
    add(
        "--device",
        default="cuda:0",
        help="as torch names it; cpu tries all of it at a small size (default: %(default)s)",
    )
    add("--rounds", type=int, help="at most (default: 20; on a CPU 1)")
    add("--seconds", type=float, help="that a way is timed, at most, after its first run (default: 12; on a CPU 2)")
    add("--height", type=int, help="pixels of the timed image (default: 800; on a CPU 128)")
    add("--width", type=int, help="(default: 1333; on a CPU 190)")
    add("--side", type=int, help="pixels of the image in half precision, a square (default: 640; on a CPU 256)")
    add("--batch", type=int, default=GPU_BATCH_SIZE, help="images at a time (default: %(default)s)")
    add("--output", type=Path, help=f"where gpu.md and gpu.csv are written (default: {RESULTS}; on a CPU nowhere)")
    parsed = parser.parse_args()
    on_gpu = torch.device(parsed.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} can't use a GPU here; --device cpu tries all of it on the CPU")
    if not 1 <= parsed.batch <= GPU_BATCH_SIZE:
        parser.error(f"--batch is {parsed.batch}; expected 1 to {GPU_BATCH_SIZE}, as more don't run together")
    usual = {
        "rounds": (20, 1),
        "seconds": (12, 2),
        "height": (800, 128),
        "width": (1333, 190),
        "side": (640, 256),
        "output": (RESULTS, None),
    }
    for name, (of_gpu, of_cpu) in usual.items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, of_gpu if on_gpu else of_cpu)
    return parsed


def card(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"no GPU, but {torch.get_num_threads()} threads of a CPU"


def parity_table(device: torch.device) -> tuple[Table, bool]:
    """The reference's detections in float32, and whether they are found, within the reference's tolerance."""
    table = Table("gpu_parity", "The reference's detections, float32", ("case", "expected", "paired"), str(device))
    same = []
    for name in CASES:
        case = load_case(name)
        network = TensorMask(load_config(case.config))
        state = synthetic_state(case.shapes, case.seed)
        load_weights(network, {entry: torch.from_numpy(array) for entry, array in state.items()})
        [detections] = with_gpu_path(Predictor(network, device, torch.float32))([case.image])
        paired = sum(pair.is_same for pair in pair_detections(detections, case.expected))
        table.rows.append((name, len(case.expected), paired))
        same.append(paired >= 0.98 * len(case.expected) and paired >= 0.98 * len(detections))
    table.show()
    return table, all(same)


def precision_table(device: torch.device, side: int) -> tuple[Table, bool]:
    """How much the demo's network finds what float32 finds, in each precision."""
    table = Table(
        "gpu_precision",
        "The demo's network beside float32",
        ("precision", "paired", "mask IoU", "as promised"),
        f"{device}; promised: {LEAST_PAIRED:.0%} of the detections above 0.3 paired, masks of IoU {LEAST_MASK_IOU}",
    )
    image, options = image_of(side, side), PredictionOptions(score_threshold=0.1)
    [exact] = with_gpu_path(demo_predictor(device=str(device)))([image], options)
    all_promised = True
    for precision in PRECISIONS:
        if device.type == "cpu" and emulates(DTYPES[precision]):
            continue
        [detections] = with_gpu_path(demo_predictor(precision, str(device)))([image], options)
        alike = agreement(detections, exact)
        promised = alike.paired >= LEAST_PAIRED * alike.expected and alike.mask_iou >= LEAST_MASK_IOU
        all_promised &= promised
        row = (precision, f"{alike.paired} of {alike.expected}", f"{alike.mask_iou:.4f}", "yes" if promised else "NO")
        table.rows.append(row)
    table.show()
    return table, all_promised


def operations_table(device: torch.device, height: int, width: int, batch: int) -> tuple[Table, bool]:
    table = Table(
        "gpu_operations",
        "Operations without a graph, and copies to the host",
        ("images", "operations", "copies to the host"),
        f"{device}, R50 at {height}×{width}, float32; promised for one image: {MOST_OPERATIONS} and {MOST_COPIES}",
    )
    few = True
    for images in (1, batch):
        way = Way("", "float32", batched=True, kernels=True, graphs=False, images=images)
        operations, copies = counts(predictor_of(way, device), [image_of(height, width)] * images)
        table.rows.append((images, operations, copies))
        few &= images > 1 or (operations <= MOST_OPERATIONS and 0 < copies <= MOST_COPIES)
    table.show()
    return table, few


def speed_table(device: torch.device, height: int, width: int, batch: int, rounds: int, seconds: float) -> Table:
    table = Table(
        "gpu",
        "The published network, from the decoded image to packed masks",
        ("what", "only the network, ms", "all, ms", "p90, ms", "images/s", "MB", "faster"),
        f"{card(device)}, R50 at {height}×{width}, not resized, synthetic weights, 100 masks an image, median of "
        f"{rounds} or as many as {seconds:g} seconds allow; MB: of the GPU, at the peak",
    )
    image = image_of(height, width)
    first: Times | None = None
    rates: dict[Way, float] = {}
    fastest = float("inf")
    for way in ways(batch):
        if device.type == "cpu" and emulates(DTYPES[way.precision]):
            continue  # it would take minutes, and says nothing of a GPU
        times = measured(way, device, image, rounds, seconds)
        first = first or times
        rates[way] = 1000 * way.images / times.whole
        if way.images == 1 and way.precision != "float32":
            fastest = min(fastest, times.whole)
        faster = f"{rates[way] * first.whole / 1000:.1f}×"
        megabytes = "" if np.isnan(times.megabytes) else times.megabytes
        table.rows.append((way.name, times.network, times.whole, times.p90, rates[way], megabytes, faster))
    table.show()
    if device.type == "cuda" and (height, width) == (800, 1333):
        best = max(rates.values())
        for goal, reached in (
            (f"one image in half precision in at most {MOST_MS} ms", fastest <= MOST_MS),
            (f"at least {LEAST_RATE} images a second", best >= LEAST_RATE),
            (
                f"{LEAST_FASTER} times as fast as eager float32",
                first is not None and best * first.whole >= 1000 * LEAST_FASTER,
            ),
        ):
            print(f"goal: {goal}: {'reached' if reached else 'NOT reached'}")
    return table


def write(tables: Sequence[Table], about: str, folder: Path) -> None:
    """Writes gpu.md with all tables, and the speed as gpu.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [f"# Measured by bench/gpu.sh\n\n{about}."]
    written += [f"## {table.title}\n\n{table.note}.\n\n{table.markdown()}" for table in tables]
    (folder / "gpu.md").write_text("\n\n".join(written) + "\n", encoding="utf-8")
    tables[-1].write(folder)


if __name__ == "__main__":
    sys.exit(main())
