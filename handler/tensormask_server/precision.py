"""The precisions of the convolutions: torch's dtypes by name, and float32 without TF32's rounding on GPUs."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from tensormask_server.options import PRECISIONS

DTYPES: Mapping[str, torch.dtype] = {name: getattr(torch, name) for name in PRECISIONS}


def exact_float32(device: torch.device) -> AbstractContextManager[None]:
    """While it is open, convolutions in float32 aren't rounded to TF32, which torch does on CUDA by default."""
    if device.type == "cuda":
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return nullcontext()
