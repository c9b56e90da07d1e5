"""A network's convolutions as an ONNX file."""

import logging
import warnings
from pathlib import Path

from tensormask_server.export.description import axes, described
from tensormask_server.export.program import exported_program
from tensormask_server.extras import missing_extra
from tensormask_server.network.before_selection import map_names
from tensormask_server.network.tensormask import TensorMask


class ExportError(ValueError):
    """A graph can't be exported. The message is one line."""


def save_onnx(network: TensorMask, path: Path) -> None:
    """Writes a network's convolutions in float32, for any number and size of images.

    Inputs and outputs have the names and the descriptions of `described`, and their axes those of `axes`.

    Raises:
        ExportError: onnx or onnxscript isn't installed.
    """
    if missing := missing_extra("export"):
        raise ExportError(f"an ONNX file can't be made: {missing}")
    import onnx
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = map_names(network.config.head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        program = torch.onnx.export(
            exported_program(network), input_names=["images"], output_names=names, dynamo=True, verbose=False
        )
    assert program is not None
    model = program.model_proto
    model.producer_name = "tensormask-segmentation-server"
    descriptions = described(network)
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = descriptions[value.name]
        for dimension, name in zip(value.type.tensor_type.shape.dim, axes(value.name), strict=True):
            if name:
                dimension.dim_param = name
    onnx.checker.check_model(model)
    onnx.save(model, path)
