"""A network's convolutions as torch's own exported program, for images of any size."""

import copy
import warnings

import torch
from torch.export import Dim, ExportedProgram

from tensormask_server.network.before_selection import Convolutions
from tensormask_server.network.norms import fold_norms
from tensormask_server.network.tensormask import TensorMask

EXAMPLE = (2, 2, 3)  # images, and H and W in strides; axes that differ, so that none is taken for another


def exported_program(network: TensorMask) -> ExportedProgram:
    """Exports `Convolutions` with any number of images, and any H and W that are multiples of the stride.

    Args:
        network: is left as it is.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    fold_norms(copied)
    stride = network.stride
    images, height, width = EXAMPLE
    sizes = {0: Dim("images"), 2: stride * Dim("rows"), 3: stride * Dim("columns")}
    example = torch.zeros(images, 3, stride * height, stride * width)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch about itself
        return torch.export.export(Convolutions(copied), (example,), dynamic_shapes=(sizes,))
