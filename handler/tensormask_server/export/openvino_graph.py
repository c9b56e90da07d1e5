"""A network's convolutions as an OpenVINO model, in float32 or with the layers that tolerate it in 8 bits."""

import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from tensormask_server.export.calibration import read_calibration_image
from tensormask_server.export.program import exported_program
from tensormask_server.network.before_selection import map_names
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.openvino_package import OpenVinoError, openvino
from tensormask_server.prediction.inputs import normalised_batch, resize_image
from tensormask_server.printable import printable

# Layers that stay out of 8 bits, by their weights' entries: the finest maps, from which outlines of masks are made.
IN_HIGHER_PRECISION = (
    "backbone.bottom_up.stem.",
    "backbone.bottom_up.res2.",
    "backbone.fpn_lateral2.",
    "backbone.fpn_output2.",
    "head.mask_subnet.",
)


def openvino_model(network: TensorMask) -> Any:
    """The convolutions of a network as an openvino.Model in float32, with names of its inputs and outputs.

    Raises:
        OpenVinoError: OpenVINO isn't installed.
    """
    package = openvino()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        model = package.convert_model(exported_program(network))
    model.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(model.outputs, map_names(network.config.head), strict=True):
        output.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    return model


def quantised(model: Any, network: TensorMask, images: Sequence[Path]) -> Any:
    """The model with its convolutions in 8 bits, by nncf's quantisation after training.

    Args:
        model: of `openvino_model`. It isn't usable afterwards.
        network: whose images are resized and normalised.
        images: files, whose activations give the ranges.

    Raises:
        OpenVinoError: nncf isn't installed.
        CalibrationError: an image can't be read.
    """
    openvino()
    try:
        import nncf
    except ImportError as error:
        install = "pip install 'tensormask-segmentation-server[export]' brings it"
        raise OpenVinoError(f"--precision int8 can't be made: {error}; {install}") from error

    def example(path: Path) -> np.ndarray:
        config = network.config.input
        resized = resize_image(read_calibration_image(path), config)
        batch = normalised_batch([resized], config, network.stride, torch.device("cpu"))  # (1, 3, H, W)
        return batch.contiguous().numpy()

    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):  # nncf shows its progress
        scope = nncf.IgnoredScope(names=_convolutions_of(model, IN_HIGHER_PRECISION))
        return nncf.quantize(model, nncf.Dataset(images, example), subset_size=len(images), ignored_scope=scope)


def _convolutions_of(model: Any, entries: Sequence[str]) -> list[str]:
    """The names of a model's convolutions whose weights' entries begin with one of these."""
    beginnings = tuple(f"network.{entry}".replace(".", "_") for entry in entries)
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return [
        node.get_friendly_name()
        for node in convolutions
        if any(name.startswith(beginnings) for name in node.input_value(1).get_names())
    ]


def save_openvino(model: Any, path: Path, half: bool) -> None:
    """Writes a model's .xml file, and its numbers beside it as .bin. Neither replaces a file before both are written.

    Args:
        half: whether numbers are kept with 16 bits, which float32 needs all of.

    Raises:
        OSError: a file can't be written.
        OpenVinoError: OpenVINO can't write them, for example onto a full disk.
    """
    with TemporaryDirectory(prefix=".graph.", dir=path.parent) as folder:
        written = Path(folder, "graph.xml")
        try:
            openvino().save_model(model, written, compress_to_fp16=half)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise OpenVinoError(f"OpenVINO can't write {printable(path)}: {reason}") from error
        for suffix in (".bin", ".xml"):
            written.with_suffix(suffix).replace(path.with_suffix(suffix))
