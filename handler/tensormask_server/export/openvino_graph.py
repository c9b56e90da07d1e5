"""A network's convolutions as an OpenVINO model, in float32 or with the layers that tolerate it in 8 bits."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensormask_server.export.program import exported_program
from tensormask_server.network.before_selection import map_names
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.openvino_package import OpenVinoError, openvino


def openvino_model(network: TensorMask) -> Any:
    """The convolutions of a network as an openvino.Model in float32, with names of its inputs and outputs.

    Raises:
        OpenVinoError: OpenVINO isn't installed.
    """
    package = openvino()
    model = package.convert_model(exported_program(network))
    model.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(model.outputs, map_names(network.config.head), strict=True):
        output.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    return model


def save_openvino(model: Any, path: Path, half: bool) -> None:
    """Writes a model's .xml file, and its numbers beside it as .bin.

    Args:
        half: whether numbers are kept with 16 bits, which float32 needs all of.
    """
    openvino().save_model(model, path, compress_to_fp16=half)
