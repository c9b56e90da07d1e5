"""The options that archive.sh and tensormask-server share, and the archive that they describe."""

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path

from tensormask_server.archive.errors import ArchiveError
from tensormask_server.arguments import add_tile_arguments
from tensormask_server.models.arguments import add_model_arguments, model_classes, model_files, model_name
from tensormask_server.options import (
    ALL_PRECISIONS,
    DEVICES,
    ENGINES,
    GPU_BATCH_SIZE,
    LIMIT_NAMES,
    OPTION_NAMES,
    HandlerOptions,
    Limits,
    OptionError,
)
from tensormask_server.printable import printable, quoted

# the most that a request may ask for, by the handler's option
LIMITS = {
    "max_pixels": "the largest image's H·W",
    "max_side": "pixels of an image's longer side",
    "max_images": "images of one request",
    "max_tiles": "tiles of all images of one request together",
    "largest_image": "H·W of the largest image that is read in parts, such as 50000000 for photographs; 0: none is",
    "max_request_pixels": "H·W of all images of one request together",
    "max_mask_pixels": "max_detections × H·W of all images of one request together",
    "max_response_bytes": "of a batch's responses together; below max_response_size in config.properties",
}


@dataclass(frozen=True)
class ArchiveRequest:
    """What goes into an archive, and how it is served."""

    config: Path
    weights: Path
    classes: Path | None = None
    samples: Path | None = None  # a folder
    name: str = "tensormask"
    output: Path = Path("model_store")
    workers: int = 1
    batch_size: int = 1
    max_batch_delay: int = 5  # ms
    response_timeout: int = 120  # s
    options: HandlerOptions = field(default_factory=HandlerOptions)
    calibrate: Path | None = None  # for int8: a folder of images


def add_archive_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `archive_request` reads, but for the output."""
    defaults = ArchiveRequest(Path(), Path())
    options = defaults.options
    add = parser.add_argument
    add_model_arguments(parser)
    add("--name", help=f"the model's name, in its URL too (default: the NAME of --model, else {defaults.name})")
    add("--classes", type=Path, metavar="FILE", help="class names, one a line (default: the model's, or COCO's for 80)")
    add("--samples", type=Path, metavar="FOLDER", help="images that the page offers (default: the model's, else none)")
    add("--about", metavar="TEXT", help='ends the page\'s "This network knows …" (default: that of --model)')
    add(
        "-t",
        "--threshold",
        type=float,
        default=options.score_threshold,
        help="0 to 1: a detection's score must be above it (default: %(default)s)",
    )
    add(
        "--engine",
        choices=ENGINES,
        default=options.engine,
        help="openvino: faster convolutions on CPUs; detectron2: its own network (default: %(default)s)",
    )
    add(
        "--device",
        choices=DEVICES,
        default=options.device,
        help="auto: a GPU where there is one (default: %(default)s)",
    )
    add(
        "--precision",
        choices=ALL_PRECISIONS,
        default=options.precision,
        help="int8: with the engine openvino and --calibrate (default: %(default)s)",
    )
    add("--calibrate", type=Path, metavar="FOLDER", help="for int8: 100 to 300 images of the kind that will be sent")
    add_tile_arguments(parser)
    for name, meaning in LIMITS.items():
        default = getattr(options.limits, name)
        add(_flag(name), type=int, default=default, metavar="N", help=f"{meaning} (default: %(default)s)")
    add("--workers", type=int, help=f"requests or batches at a time (default: {defaults.workers}, or one for each GPU)")
    batch_sizes = f"{defaults.batch_size}, or {GPU_BATCH_SIZE} where there is a GPU"
    add("--batch-size", type=int, help=f"images at once (default: {batch_sizes})")
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
        help="seconds after which a request fails and its worker is restarted (default: %(default)s)",
    )


def archive_request(parsed: argparse.Namespace) -> ArchiveRequest:
    """The archive that the parsed options describe. Files that they name and that aren't here are downloaded.

    Args:
        parsed: `is_complete` is True of it.

    Raises:
        ArchiveError: an option's value can't be used.
        ModelError: the model, or one of its files, can't be had.
    """
    for name in ("workers", "batch_size", "max_batch_delay", "response_timeout"):
        if getattr(parsed, name) is not None and getattr(parsed, name) < 1:
            raise ArchiveError(f"{_flag(name)} is {getattr(parsed, name)}; expected 1 or more")
    name = model_name(parsed) or ArchiveRequest.name if parsed.name is None else parsed.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ArchiveError(f"--name is {quoted(name)}; expected letters, digits, - and _")
    try:
        options = HandlerOptions(
            about=model_classes(parsed) if parsed.about is None else parsed.about,
            score_threshold=parsed.threshold,
            engine=parsed.engine,
            device="cpu" if parsed.engine == "openvino" and parsed.device == "auto" else parsed.device,
            precision=parsed.precision,
            limits=Limits(**{name: getattr(parsed, name) for name in LIMIT_NAMES}),
            tile_size=parsed.tile_size,
            tile_overlap=parsed.tile_overlap,
            tile_whole=parsed.tile_whole,
        )
    except OptionError as error:
        raise ArchiveError(_as_typed(str(error))) from error
    if (parsed.calibrate is None) == (options.precision == "int8"):
        found = "missing" if parsed.calibrate is None else printable(parsed.calibrate)
        raise ArchiveError(f"--calibrate is {found}; expected a folder of images with --precision int8, and only then")
    gpus = _num_gpus(options.device) if parsed.workers is None or parsed.batch_size is None else 0
    files = model_files(parsed)  # only now: an option that can't be used would make a download pointless
    return ArchiveRequest(
        config=files.config,
        weights=files.weights,
        classes=parsed.classes or files.class_names,
        samples=parsed.samples or files.samples,
        name=name,
        output=parsed.output,
        workers=parsed.workers or max(gpus, ArchiveRequest.workers),
        batch_size=parsed.batch_size or (GPU_BATCH_SIZE if gpus else ArchiveRequest.batch_size),
        max_batch_delay=parsed.max_batch_delay,
        response_timeout=parsed.response_timeout,
        options=options,
        calibrate=parsed.calibrate,
    )


def _num_gpus(device: str) -> int:
    """How many GPUs of this machine the server is expected to use. For "cuda" it is one where this machine has none."""
    if device == "cpu":
        return 0
    import torch  # only here: most commands that read these arguments need no torch

    return max(torch.cuda.device_count(), int(device == "cuda"))


def _as_typed(error: str) -> str:
    """An error with the command line's options in the place of the handler's."""
    for name in OPTION_NAMES:
        error = re.sub(rf"\b{name}\b", _flag(name), error)
    return error


def _flag(name: str) -> str:
    return "--threshold" if name == "score_threshold" else f"--{name.replace('_', '-')}"
