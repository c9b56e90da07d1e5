"""The precisions of the convolutions: torch's dtypes by name, and float32 without TF32's rounding on GPUs."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from tensormask_server.options import PRECISIONS

DTYPES: Mapping[str, torch.dtype] = {name: getattr(torch, name) for name in PRECISIONS}


def exact_float32(device: torch.device) -> AbstractContextManager[None]:
    """While it is open, convolutions in float32 aren't rounded to TF32, which torch does on CUDA by default."""
    if device.type == "cuda":
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return nullcontext()


@contextmanager
def exact_products(dtype: torch.dtype) -> Iterator[None]:
    """While it is open, a GPU multiplies float32 matrices by TF32 if that is exact: the numbers have another dtype.

    TF32 has float16's digits and float32's range, and sums are in float32. So numbers that were bfloat16 or float16
    lose nothing, and the GPU's faster units multiply them.

    Args:
        dtype: the one that the numbers had before they became float32.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = dtype != torch.float32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
