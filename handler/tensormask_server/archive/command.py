"""The command line, and what is printed about the archive."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tensormask_server import __version__
from tensormask_server.archive.arguments import ArchiveRequest, add_archive_arguments, archive_request
from tensormask_server.archive.content import HANDLER, WEIGHTS, model_config
from tensormask_server.archive.making import MAKE_ERRORS, Made, make
from tensormask_server.classes import unnamed_classes
from tensormask_server.integrity import SUMS
from tensormask_server.models.arguments import EXPECTED, is_complete, list_of_models
from tensormask_server.models.errors import ModelError
from tensormask_server.printable import LINE, one_line, printable, say


def run(arguments: Sequence[str] | None) -> int:
    """Exit status 0, or 2 and one line on stderr."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.list_models:
        for line in list_of_models():
            say(line)
        return 0
    if not is_complete(parsed):
        parser.error(EXPECTED)
    try:
        request = archive_request(parsed)
        made = make(request)
    except (ModelError, *MAKE_ERRORS) as error:
        say(f"archive.sh: {one_line(error)}", sys.stderr)
        return 2
    for line in (*_content(made, request), "", *_how_to_serve(made.path, request)):
        say(line)
    if note := unnamed_classes(made.config.head.num_classes, request.classes):
        say(f"\nNote: {note}")
    return 0


def _content(made: Made, request: ArchiveRequest) -> list[str]:
    config, names = made.config, made.class_names
    shown = ", ".join(map(printable, names[:3])) + (", …" if len(names) > 3 else "")
    masks = "masks" if config.head.mask_on else "boxes only (MASK_ON is False)"
    network = f"{config.backbone.label}, {config.head.num_classes} classes, {masks}"
    return [
        f"{printable(made.path)}  ({made.path.stat().st_size / 1e6:.1f} MB)",
        f"  config.yaml          {printable(request.config)}: {network}",
        f"  {WEIGHTS}  {printable(request.weights)}, only as tensors",
        f"  classes.txt          {shown}",
        *_graph(made, request),
        f"  model-config.yaml    {_flow(model_config(request))}",
        f"  tensormask_server/   version {__version__}, and {HANDLER.name}: the code that serves it",
        f"  {SUMS}           of each file but model-config.yaml, checked when it is loaded",
    ]


def _graph(made: Made, request: ArchiveRequest) -> list[str]:
    """What an archive for the engine openvino has besides."""
    if request.options.engine != "openvino":
        return []
    calibrated = f", calibrated with {made.calibrated} images" if made.calibrated else ""
    return [f"  graph.xml, graph.bin the convolutions for OpenVINO, in {request.options.precision}{calibrated}"]


def _how_to_serve(archive: Path, request: ArchiveRequest) -> list[str]:
    store = printable(request.output)
    return [
        "To serve it:",
        f"  make serve ARCHIVE={printable(archive, LINE)}",
        "or, with Java on the PATH:",
        f"  .venv/bin/torchserve --start --ncs --ts-config config.properties --model-store {store} "
        f"--models {request.name}={archive.name}",
    ]


def _flow(tree: dict[str, object]) -> str:
    return yaml.safe_dump(tree, default_flow_style=True, sort_keys=False, width=1 << 20).strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="archive.sh", description="Packs a TensorMask configuration and its weights as a TorchServe model archive."
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("model_store"), help="a folder (default: %(default)s)")
    add_archive_arguments(parser)
    add("--list-models", action="store_true", help="show the models that have a name, and exit")
    add("--version", action="version", version=__version__)
    return parser
