"""The align op against the reference's answers and against its definition; masks of the detections against the op."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server.network import masks
from tensormask_server.network.align import PAD_VALUE
from torch import Tensor

from tests.unit.network.dense_align import swap_align2nat

REFERENCE = np.load(Path(__file__).parents[3] / "reference" / "swap_align2nat.npz")
NUM_REFERENCES = len({name.partition("_")[0] for name in REFERENCE.files})


def by_definition(aligned: np.ndarray, scale: int, mask_size: int, pad_value: float) -> np.ndarray:
    """docs/NETWORK.md, section 5, in float64: each output has 16 taps, and those outside count as the pad value."""
    num, _, height, width = aligned.shape
    x = aligned.astype(np.float64).reshape(num, mask_size, mask_size, height, width)
    size = scale * mask_size
    y = np.empty((num, size, size, math.ceil(height / scale), math.ceil(width / scale)))
    for n, v, u, row, column in np.ndindex(y.shape):
        position = (
            (v + 0.5) / scale - 0.5,
            (u + 0.5) / scale - 0.5,
            row * scale + v - size / 2 + 0.5,
            column * scale + u - size / 2 + 0.5,
        )
        value = 0.0
        for corner in itertools.product((0, 1), repeat=4):
            tap = [math.floor(p) + upper for p, upper in zip(position, corner, strict=True)]
            weight = math.prod(1 - abs(p - t) for p, t in zip(position, tap, strict=True))
            inside = all(0 <= t < length for t, length in zip(tap, x.shape[1:], strict=True))
            value += weight * (x[(n, *tap)] if inside else pad_value)
        y[n, v, u, row, column] = value
    return y.reshape(num, size * size, *y.shape[3:])


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("index", range(NUM_REFERENCES))
def test_the_op_is_the_references(index: int) -> None:
    x, scale, y = (REFERENCE[f"{index}_{name}"] for name in ("x", "lambda", "y"))
    ours = swap_align2nat(torch.from_numpy(x), int(scale), math.isqrt(x.shape[1]))
    np.testing.assert_allclose(ours.numpy(), y, rtol=1e-5, atol=1e-5)


@settings(max_examples=25)
@given(
    scale=st.integers(1, 5),
    mask_size=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    num=st.integers(1, 2),
    pad_value=st.sampled_from([PAD_VALUE, 0.0, 2.5]),
    seed=st.integers(0, 1000),
)
def test_the_op_is_its_definition(
    scale: int, mask_size: int, height: int, width: int, num: int, pad_value: float, seed: int
) -> None:
    x = random_tensor(num, mask_size**2, height, width, seed=seed, dtype=torch.float64)
    ours = swap_align2nat(x, scale, mask_size, pad_value)
    np.testing.assert_allclose(
        ours.numpy(), by_definition(x.numpy(), scale, mask_size, pad_value), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("scale", "mask_size", "height", "width"), [(1, 2, 3, 2), (2, 3, 4, 3), (3, 2, 4, 5)])
def test_gradients_flow_through_the_op(scale: int, mask_size: int, height: int, width: int) -> None:
    x = random_tensor(1, mask_size**2, height, width, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: swap_align2nat(x, scale, mask_size), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_op_keeps_the_type(dtype: torch.dtype) -> None:
    assert swap_align2nat(torch.zeros(1, 4, 3, 3, dtype=dtype), 2, 2).dtype == dtype


def dense_masks(features: Tensor, weight: Tensor, bias: Tensor, scale: int) -> Tensor:
    """The masks of every cell, in float64: (λV, λV, ⌈H/λ⌉, ⌈W/λ⌉)."""
    mask_size = math.isqrt(len(bias))
    aligned = torch.nn.functional.conv2d(features[None].double(), weight.double(), bias.double())
    natural = swap_align2nat(aligned, scale, mask_size)[0]
    return natural.unflatten(0, (scale * mask_size, scale * mask_size))


@pytest.mark.parametrize(("scale", "mask_size"), [*itertools.product((1, 2, 4, 8), (1, 2, 3, 4))])
def test_masks_of_detections_are_the_ops(scale: int, mask_size: int) -> None:
    """At every cell of maps with odd and even sides: those at the borders have most of their window outside."""
    height, width, channels = 2 * scale + 1, 3 * scale, 5
    features = random_tensor(channels, height, width, seed=scale)
    weight, bias = random_tensor(mask_size**2, channels, 1, 1, seed=1), random_tensor(mask_size**2, seed=2)
    dense = dense_masks(features, weight, bias, scale)
    y, x = (cells.flatten() for cells in torch.meshgrid(*map(torch.arange, dense.shape[2:]), indexing="ij"))
    expected = dense[:, :, y, x].permute(2, 0, 1).numpy()
    for gradients, times in ((True, 1), (False, 1), (False, mask_size)):  # many windows are cut from one product
        with torch.set_grad_enabled(gradients):
            ours = masks.natural_masks(features, weight, bias, y.repeat(times), x.repeat(times), scale)
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.numpy(), np.tile(expected, (times, 1, 1)), rtol=1e-4, atol=1e-4)


def test_many_windows_are_cut_from_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few as have more multiplications in their windows than the whole map has, and without gradients."""
    products: list[Tensor] = []
    monkeypatch.setattr(masks, "product", lambda x, weight: products.append(x) or x @ weight.T)
    features, weight, bias = torch.ones(2, 20, 20), torch.ones(225, 2, 1, 1), torch.ones(225)
    for gradients, cells, expected in ((False, 8, 0), (False, 80, 1), (True, 80, 0)):
        products.clear()
        middle = torch.full((cells,), 5)
        with torch.set_grad_enabled(gradients):
            masks.natural_masks(features, weight, bias, middle, middle, 2)
        assert len(products) == expected


def test_masks_of_no_detections_are_none() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    ours = masks.natural_masks(torch.ones(2, 4, 4), torch.ones(9, 2, 1, 1), torch.ones(9), none, none, 2)
    assert ours.shape == (0, 6, 6)
