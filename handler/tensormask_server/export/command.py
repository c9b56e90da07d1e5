"""The command line of an export, and what is printed about its file."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tensormask_server import __version__
from tensormask_server.export.calibration import calibration_images
from tensormask_server.export.description import DOCUMENTED, described
from tensormask_server.export.onnx_graph import save_onnx
from tensormask_server.export.openvino_graph import openvino_model, quantised, save_openvino
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.models.arguments import EXPECTED, add_model_arguments, is_complete, model_files
from tensormask_server.models.errors import ModelError
from tensormask_server.network.config import load_config
from tensormask_server.network.loading import build_network
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.printable import one_line, printable, say

FORMATS = {"onnx": ".onnx", "openvino": ".xml"}  # by format the ending of the file


def run(program: str, arguments: Sequence[str] | None) -> int:
    """Exit status 0, or 2 and one line on stderr."""
    parser = _parser(program)
    parsed = parser.parse_args(arguments)
    if not is_complete(parsed):
        parser.error(EXPECTED)
    if parsed.calibrate is not None and parsed.format != "openvino":
        parser.error("--calibrate is for --format openvino only")
    if parsed.output.suffix != FORMATS[parsed.format]:
        parser.error(f"--output is {printable(parsed.output)}; expected a name that ends in {FORMATS[parsed.format]}")
    try:
        files = model_files(parsed)
        network = build_network(load_config(files.config), load_checkpoint(files.weights))
        _write(network, parsed.format, parsed.output, parsed.calibrate)
    except (ModelError, ValueError) as error:  # all errors of files and absent packages are ValueErrors
        say(f"export: {one_line(error)}", sys.stderr)
        return 2
    except OSError as error:
        say(f"export: can't write {printable(error.filename2 or parsed.output)}: {error.strerror}", sys.stderr)
        return 2
    say(f"{printable(parsed.output)}, in float32" + (", its convolutions in 8 bits" if parsed.calibrate else ""))
    for name, meaning in described(network).items():
        say(f"  {name}: {meaning}")
    say(DOCUMENTED)
    return 0


def _write(network: TensorMask, graph_format: str, output: Path, calibrate: Path | None) -> None:
    images = [] if calibrate is None else calibration_images(calibrate)
    output.parent.mkdir(parents=True, exist_ok=True)
    for file in (output, output.with_suffix(".bin")) if graph_format == "openvino" else (output,):
        if file.is_dir():  # said now, and not after the minute that the graph of a large network takes
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file), None, str(file))
    if graph_format == "onnx":
        save_onnx(network, output)
        return
    model = openvino_model(network)
    save_openvino(quantised(model, network, images) if images else model, output, half=False)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Writes the part of a network before the selection of detections as a graph, for images of any "
        "size and for other programs.",
    )
    add = parser.add_argument
    add_model_arguments(parser)
    add("--format", choices=FORMATS, required=True, help="of the file; openvino writes a .bin beside its .xml")
    add("--output", type=Path, required=True, metavar="FILE", help="what is written, ending in .onnx or .xml")
    add("--calibrate", type=Path, metavar="FOLDER", help="of 100 to 300 images: the convolutions are in 8 bits")
    add("--version", action="version", version=__version__)
    return parser
