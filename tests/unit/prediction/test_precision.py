"""TF32 is used where it is exact, and nowhere else."""

import numpy as np
import pytest
import torch
from tensormask_server.prediction.precision import exact_products


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float32, False), (torch.float16, True), (torch.bfloat16, True)])
def test_products_of_half_precision_may_use_tf32(dtype: torch.dtype, expected: bool) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    with exact_products(dtype):
        assert torch.backends.cuda.matmul.allow_tf32 == expected
    assert torch.backends.cuda.matmul.allow_tf32 == before


def test_tf32_holds_the_numbers_of_half_precision_exactly() -> None:
    """TF32 keeps 10 of float32's 23 digits after the first: every finite float16 in its normal range has no more."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    normal = np.isfinite(halves) & (np.abs(halves) >= np.finfo(np.float16).smallest_normal)
    bits = halves[normal].astype(np.float32).view(np.uint32)
    assert normal.sum() > 60_000
    assert not (bits & ((1 << 13) - 1)).any()
