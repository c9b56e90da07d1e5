"""What this CPU multiplies at most in each precision, by which the limits of the tables are computed."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tensormask_server.openvino_package import openvino

from bench.tables import milliseconds

CHANNELS, HEIGHT, WIDTH = 256, 100, 136  # of the heads' convolutions, on the second level at 800×1066 pixels
SIDE = 2048  # of the matrices
ROUNDS = 12


@torch.inference_mode()
def fastest_operations(precision: str, clock: Callable[[], float] = perf_counter) -> float:
    """Operations a second of the fastest of two ways to multiply: a product of matrices, and a 3×3 convolution.

    Args:
        precision: "float32" or "bfloat16" by torch, "int8" by OpenVINO.
        clock: gives seconds.
    """
    convolution = 2 * 9 * CHANNELS**2 * HEIGHT * WIDTH
    ways = _in_8_bits() if precision == "int8" else _by_torch(getattr(torch, precision))
    of_product, of_convolution = (times.min() / 1000 for times in milliseconds(ways, ROUNDS, clock))
    return float(max(2 * SIDE**3 / of_product, convolution / of_convolution))


def _by_torch(dtype: torch.dtype) -> list[Callable[[], object]]:
    left, right = torch.zeros(2, SIDE, SIDE, dtype=dtype)
    layer = _layer().to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # left out there
    x = torch.zeros(1, CHANNELS, HEIGHT, WIDTH, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return [lambda: left @ right, lambda: layer(x)]


def _in_8_bits() -> list[Callable[[], object]]:
    import nncf

    package = openvino()
    ways: list[Callable[[], object]] = []
    product = torch.nn.Linear(SIDE, SIDE, bias=False)
    for layer, shape in ((product, (SIDE, SIDE)), (_layer(), (1, CHANNELS, HEIGHT, WIDTH))):
        x = torch.rand(shape)
        model: Any = package.convert_model(layer, example_input=x, input=[package.PartialShape(shape)])
        quantised = nncf.quantize(model, nncf.Dataset([x.numpy()]), subset_size=1)
        request = package.compile_model(quantised, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})
        run = request.create_infer_request()
        ways.append(partial(run.infer, [np.asarray(x)], share_inputs=True, share_outputs=True))
    return ways


def _layer() -> torch.nn.Conv2d:
    return torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
