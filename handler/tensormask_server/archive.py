"""A configuration and its weights to a checked model archive: what archive.sh runs."""

import argparse
import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from tensormask_server.checkpoint import check_sha256, load_checkpoint
from tensormask_server.classes import class_names
from tensormask_server.config import TensorMaskConfig, parse_config
from tensormask_server.cpu import SlowPrecisionWarning
from tensormask_server.detectron2_network import check_detectron2
from tensormask_server.detectron2_yaml import MAX_BYTES, load_merged_yaml
from tensormask_server.engine import ENGINES
from tensormask_server.finite import NotFiniteError, finite_layers
from tensormask_server.inputs import normalised
from tensormask_server.integrity import SUMS, sums_of
from tensormask_server.network.detection import Selection
from tensormask_server.network.loading import build_network
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.options import HandlerOptions, OptionError
from tensormask_server.predictor import PRECISIONS, Predictor
from tensormask_server.printable import LINE, one_line, printable, quoted
from tensormask_server.regular_files import write_whole

PACKAGE = Path(__file__).parent
HANDLER = PACKAGE.parent / "tensormask_handler.py"
WEIGHTS = "weights.safetensors"
# what a request may ask for at most, by the handler's option
LIMITS = {
    "max_pixels": "the largest image's H·W",
    "max_side": "pixels of an image's longer side",
    "max_images": "images of one request",
    "max_request_pixels": "H·W of all images of one request together",
    "max_mask_pixels": "max_detections × H·W of all images of one request together",
    "max_response_bytes": "of a batch's answers together; below max_response_size in config.properties",
}


class ArchiveError(Exception):
    """An archive that can't be made, in one line."""


@dataclass(frozen=True)
class ArchiveRequest:
    """What goes into an archive."""

    config: Path
    weights: Path
    classes: Path | None = None
    name: str = "tensormask"
    output: Path = Path("model_store")
    workers: int = 1
    batch_size: int = 1
    max_batch_delay: int = 5  # ms
    response_timeout: int = 120  # s
    options: HandlerOptions = field(default_factory=HandlerOptions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 and one line on stderr."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        request = archive_request(parsed)
        archive = make_archive(request)
    except (ArchiveError, ValueError) as error:  # every error of the configuration and the weights is a ValueError
        print(f"archive.sh: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"\nTo serve it:\n  make serve ARCHIVE={printable(archive, LINE)}\nor, with Java on the PATH:")
    start = (
        f".venv/bin/torchserve --start --ncs --ts-config config.properties --model-store {printable(request.output)}"
    )
    print(f"  {start} --models {request.name}={archive.name}")
    return 0


def add_archive_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say how an archive's server answers."""
    defaults = ArchiveRequest(Path(), Path())
    options = defaults.options
    add = parser.add_argument
    add("--name", default=defaults.name, help="the model's name, in its URL too (default: %(default)s)")
    add("--classes", type=Path, metavar="FILE", help="class names, one a line (default: COCO's for 80 classes)")
    add("--engine", choices=ENGINES, default=options.engine, help="detectron2: its own network (default: %(default)s)")
    add("--precision", choices=PRECISIONS, default=options.precision, help="(default: %(default)s)")
    for name, meaning in LIMITS.items():
        add(
            _flag(name), type=int, default=getattr(options, name), metavar="N", help=f"{meaning} (default: %(default)s)"
        )
    add("--workers", type=int, default=defaults.workers, help="how many answer at a time (default: %(default)s)")
    add("--batch-size", type=int, default=defaults.batch_size, help="images at once; for GPUs (default: %(default)s)")
    add(
        "--max-batch-delay",
        type=int,
        default=defaults.max_batch_delay,
        metavar="MS",
        help="how long a request waits for others to fill its batch, in milliseconds (default: %(default)s)",
    )
    add(
        "--response-timeout",
        type=int,
        default=defaults.response_timeout,
        metavar="S",
        help="seconds after which a request is given up and its worker started anew (default: %(default)s)",
    )


def archive_request(parsed: argparse.Namespace) -> ArchiveRequest:
    """
    Raises:
        ArchiveError: an option's value can't be used.
    """
    for name in ("workers", "batch_size", "max_batch_delay", "response_timeout"):
        if getattr(parsed, name) < 1:
            raise ArchiveError(f"{_flag(name)} is {getattr(parsed, name)}; expected 1 or more")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", parsed.name):
        raise ArchiveError(f"--name is {quoted(parsed.name)}; expected letters, digits, - and _")
    try:
        options = HandlerOptions(
            score_threshold=parsed.threshold,
            engine=parsed.engine,
            precision=parsed.precision,
            **{name: getattr(parsed, name) for name in LIMITS},
        )
    except OptionError as error:
        raise ArchiveError(_as_typed(str(error))) from error
    return ArchiveRequest(
        config=parsed.config,
        weights=parsed.weights,
        classes=parsed.classes,
        name=parsed.name,
        output=parsed.output,
        workers=parsed.workers,
        batch_size=parsed.batch_size,
        max_batch_delay=parsed.max_batch_delay,
        response_timeout=parsed.response_timeout,
        options=options,
    )


def _as_typed(error: str) -> str:
    """An error that names the handler's options, with their names on the command line."""
    for each in fields(HandlerOptions):
        error = re.sub(rf"\b{each.name}\b", _flag(each.name), error)
    return error


def _flag(name: str) -> str:
    return "--threshold" if name == "score_threshold" else f"--{name.replace('_', '-')}"


def make_archive(request: ArchiveRequest) -> Path:
    """Checks everything by building the network, then writes the archive, whole or not at all.

    Returns:
        The path of the .mar.

    Raises:
        ArchiveError, ConfigError, CheckpointError, ClassNamesError, EngineError: what is wrong, in one line.
    """
    if request.options.engine == "detectron2":
        check_detectron2()
    tree = load_merged_yaml(request.config)
    config = parse_config(tree)
    check_sha256(request.weights)
    network = build_network(config, load_checkpoint(request.weights))
    check_runs(network, request.options.precision)
    names = class_names(config.head.num_classes, request.classes)
    with tempfile.TemporaryDirectory(prefix="tensormask-archive-") as staging:
        stage = Path(staging)
        content, served = stage / "content", stage / "served"  # beside the network, and the network
        served.mkdir()
        save_file(network.state_dict(), served / WEIGHTS)
        shutil.copy(HANDLER, served)
        # what a server has no use for: bulk with what it needs, and a wheel's copy of the settings
        left_out = shutil.ignore_patterns("__pycache__", "bulk", "config.properties")
        shutil.copytree(PACKAGE, content / PACKAGE.name, ignore=left_out)
        (content / "config.yaml").write_text(_merged_yaml(tree), encoding="utf-8")
        (content / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        (content / SUMS).write_text(sums_of([content, served]), encoding="utf-8")
        (stage / "model-config.yaml").write_text(yaml.safe_dump(_model_config(request), sort_keys=False))
        archive = _pack(stage, request)
    _print_content(archive, request, config, names)
    return archive


def check_runs(network: TensorMask, precision: str) -> None:
    """Runs a copy of the network once as it will be served, on a small image of noise.

    Args:
        network: is left as it is.
        precision: one of PRECISIONS.

    Raises:
        ArchiveError: a layer gives numbers that aren't finite.
    """
    side = 2 * network.stride
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    device = torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowPrecisionWarning)  # another machine may serve it
        served = Predictor(copy.deepcopy(network), device, PRECISIONS[precision]).network
    image = normalised([noise], network.config.input, network.stride, device)
    most = network.config.detection.max_detections
    everything = Selection(score_threshold=0.0, nms_threshold=1.0, max_detections=most)
    try:
        with torch.inference_mode(), finite_layers(served):
            served(image.to(PRECISIONS[precision]), [everything])
    except NotFiniteError as error:
        raise ArchiveError(f"with --precision {precision} {error}") from error


def _merged_yaml(tree: dict[str, object]) -> str:
    """
    Raises:
        ArchiveError: the server wouldn't read so long a configuration.
    """
    text = yaml.safe_dump(tree)
    if len(text.encode()) > MAX_BYTES:
        raise ArchiveError(
            f"the configuration, merged with its _BASE_ files and without aliases, has {len(text.encode())} bytes; "
            f"expected at most {MAX_BYTES}"
        )
    return text


def _model_config(request: ArchiveRequest) -> dict[str, object]:
    return {
        "minWorkers": request.workers,
        "maxWorkers": request.workers,
        "batchSize": request.batch_size,
        "maxBatchDelay": request.max_batch_delay,
        "responseTimeout": request.response_timeout,
        "handler": asdict(request.options),
    }


def _pack(stage: Path, request: ArchiveRequest) -> Path:
    """Runs torch-model-archiver on the staged files and puts its archive in place."""
    packed = stage / f"{request.name}.mar"
    archiver_temp = stage / "archiver"  # the archiver empties a folder of the model's name in its temporary folder
    archiver_temp.mkdir()
    command = [sys.executable, "-P", "-m", "model_archiver.model_packaging"]
    command += ["--model-name", request.name, "--version", "1.0", "--export-path", str(stage)]
    command += ["--serialized-file", f"served/{WEIGHTS}", "--handler", f"served/{HANDLER.name}"]
    command += ["--extra-files", "content"]
    command += ["--config-file", "model-config.yaml", "--archive-format", "zip-store"]
    environment = {**os.environ, "TMPDIR": str(archiver_temp)}
    result = subprocess.run(command, cwd=stage, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0 or not packed.is_file():
        reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
        raise ArchiveError(f"torch-model-archiver failed: {one_line(reason, 500)}")
    archive = request.output / packed.name
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        with packed.open("rb") as content:
            write_whole(archive, partial(shutil.copyfileobj, content))
    except OSError as error:
        raise ArchiveError(f"can't write {printable(archive)}: {error.strerror}") from error
    return archive


def _print_content(archive: Path, request: ArchiveRequest, config: TensorMaskConfig, names: Sequence[str]) -> None:
    shown = ", ".join(map(printable, names[:3])) + (", …" if len(names) > 3 else "")
    masks = "masks" if config.head.mask_on else "boxes only (MASK_ON is False)"
    network = f"{config.backbone.label}, {config.head.num_classes} classes, {masks}"
    print(f"{printable(archive)}  ({archive.stat().st_size / 1e6:.1f} MB)")
    print(f"  config.yaml          {printable(request.config)}: {network}")
    print(f"  {WEIGHTS}  {printable(request.weights)}, as tensors alone")
    print(f"  classes.txt          {shown}")
    print(f"  model-config.yaml    {_flow(_model_config(request))}")
    print(f"  tensormask_server/   and {HANDLER.name}, which serve it")
    print(f"  {SUMS}           of each file but model-config.yaml, checked when it is loaded")


def _flow(tree: dict[str, object]) -> str:
    return yaml.safe_dump(tree, default_flow_style=True, sort_keys=False, width=1 << 20).strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="archive.sh", description="Packs a TensorMask configuration and its weights as a TorchServe model archive."
    )
    parser.add_argument("-cp", "--config", type=Path, required=True, help="detectron2's .yaml")
    parser.add_argument("-tp", "--weights", type=Path, required=True, help="detectron2's .pkl or .pth")
    parser.add_argument(
        "-t", "--threshold", type=float, default=HandlerOptions().score_threshold, help="(default: 0.5)"
    )
    parser.add_argument("--output", type=Path, default=Path("model_store"), help="a folder (default: %(default)s)")
    add_archive_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
