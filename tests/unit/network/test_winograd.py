"""Winograd's convolutions are the plain ones, rounded otherwise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensormask_server import Predictor
from tensormask_server.network.winograd import WinogradConv2d, use_winograd
from torch import Tensor, nn

from tests.unit.small_network import assert_alike, noise, small_network

SHAPES = [(1, 1), (1, 9), (4, 4), (5, 3), (6, 25), (40, 100), (101, 7), (3, 700)]


def convolution(in_channels: int = 8, out_channels: int = 12, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)


def exactly(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double(), padding=1)


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_every_size_of_map(shape: tuple[int, int]) -> None:
    layer = convolution()
    x = torch.randn(2, 8, *shape)
    for given in (x, x.to(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        found = WinogradConv2d(layer)(given)
        torch.testing.assert_close(found.double(), exactly(layer, x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_map_of_several_strips_at_its_borders_and_seams() -> None:
    """A tile more than a whole number of strips; what one strip leaves in the buffers doesn't reach the next."""
    layer = convolution(bias=False)
    x = torch.full((1, 8, 4 * 43, 4 * 40), 1e4)
    x[..., 20:-20, 20:-20] = 0
    found = WinogradConv2d(layer)(x)
    torch.testing.assert_close(found.double(), exactly(layer, x), rtol=1e-4, atol=0.05)
    assert found[..., 22:-22, 22:-22].abs().max() == 0


@torch.no_grad()
def test_the_error_is_that_of_float32() -> None:
    layer = convolution(256, 256)
    x = torch.randn(1, 256, 30, 30).relu()
    exact = exactly(layer, x)
    error = (WinogradConv2d(layer)(x) - exact).abs().mean() / exact.abs().mean()
    assert error < 2e-6  # a hundredth of the eight bits of bfloat16


def test_only_where_it_pays() -> None:
    plain = {
        "stride": nn.Conv2d(128, 128, 3, stride=2, padding=1),
        "dilation": nn.Conv2d(128, 128, 3, dilation=2, padding=2),
        "groups": nn.Conv2d(128, 128, 3, padding=1, groups=2),
        "padding": nn.Conv2d(128, 128, 3),
        "size": nn.Conv2d(128, 128, 1),
        "few": nn.Conv2d(64, 128, 3, padding=1),
        "many": nn.Conv2d(128, 512, 3, padding=1),
    }
    network = nn.ModuleDict({**plain, "pays": nn.Sequential(nn.Conv2d(128, 256, 3, padding=1), nn.ReLU())})
    use_winograd(network)
    assert {name: type(network[name]) for name in plain} == dict.fromkeys(plain, nn.Conv2d)
    assert isinstance(network["pays"][0], WinogradConv2d)


def test_a_group_norm_stays_behind_its_convolution() -> None:
    """In the backbone and the pyramid: the detections are those of torch's own convolutions."""
    changes = {
        "MODEL.RESNETS": {"DEPTH": 18, "NORM": "GN", "STEM_OUT_CHANNELS": 32, "RES2_OUT_CHANNELS": 64},
        "MODEL.FPN.NORM": "GN",
        "MODEL.FPN.OUT_CHANNELS": 128,
        "MODEL.TENSOR_MASK.SCORE_THRESH_TEST": 0.0,
    }
    fast, plain = (
        Predictor(small_network(changes), torch.device("cpu"), torch.float32, winograd) for winograd in (True, False)
    )
    replaced = [name for name, module in fast.network.named_modules() if isinstance(module, WinogradConv2d)]
    assert {"backbone.fpn_output2.0", "backbone.bottom_up.res3.1.conv1.0"} <= set(replaced)
    norms = [sum(isinstance(m, nn.GroupNorm) for m in each.network.modules()) for each in (fast, plain)]
    assert norms == [29, 29]  # 21 of the backbone and 8 of the pyramid
    [found], [expected] = fast([noise(90, 120)]), plain([noise(90, 120)])
    assert len(expected) > 0
    assert_alike(found, expected)


@pytest.mark.filterwarnings("ignore:this CPU emulates")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_group_norms_run_in_half_precision(dtype: torch.dtype) -> None:
    network = small_network({"MODEL.FPN.NORM": "GN", "MODEL.FPN.OUT_CHANNELS": 32})
    predictor = Predictor(network, torch.device("cpu"), dtype)
    [found] = predictor([noise(90, 120)])
    assert np.isfinite(found.scores).all()


@pytest.mark.parametrize(
    ("device", "dtype", "used"),
    [("cpu", torch.float32, True), ("cpu", torch.bfloat16, False), ("meta", torch.float32, False)],
)
def test_other_precisions_and_devices_have_torchs_own(device: str, dtype: torch.dtype, used: bool) -> None:
    network = small_network({"MODEL.FPN.OUT_CHANNELS": 128, "MODEL.TENSOR_MASK.CLS_CHANNELS": 128})
    predictor = Predictor(network, torch.device(device), dtype)
    assert any(isinstance(module, WinogradConv2d) for module in predictor.network.modules()) == used
