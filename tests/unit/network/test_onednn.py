"""oneDNN's fused convolutions are the plain ones with what follows them."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from tensormask_server import Predictor
from tensormask_server.network import onednn
from tensormask_server.network.convolutions import OnlyWeights, activated
from tensormask_server.network.norms import NormedConv2d
from tensormask_server.network.onednn import DTYPES, PACKED_FOR, PackedConv2d, pack_convolutions, product, supports
from tensormask_server.network.winograd import WinogradConv2d
from torch import Tensor, nn

from tests.unit.small_network import assert_alike, noise, small_network

LAYERS = {
    "1×1": nn.Conv2d(16, 24, 1),
    "3×3": nn.Conv2d(16, 24, 3, padding=1, bias=False),
    "strided": nn.Conv2d(16, 24, 3, stride=2, padding=1),
    "dilated": nn.Conv2d(16, 24, 3, padding=2, dilation=2),
    "grouped": nn.Conv2d(16, 24, 3, padding=1, groups=4),
    "the stem": nn.Conv2d(3, 24, 7, stride=2, padding=3),
}


@pytest.fixture
def supported(request: pytest.FixtureRequest) -> None:
    dtype = request.getfixturevalue("dtype")
    if not supports(dtype):
        pytest.skip(f"torch has no fused convolutions for {dtype} on this CPU")


@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(1, 1), (7, 40), (33, 18)])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
@torch.no_grad()
def test_every_kind_and_size(layer: nn.Conv2d, size: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, layer.in_channels, *size).to(dtype)
    expected = F.conv2d(  # in float32, of the rounded numbers
        x.float(),
        layer.weight.to(dtype).float(),
        None if layer.bias is None else layer.bias.to(dtype).float(),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )
    packed = PackedConv2d(deepcopy(layer).requires_grad_(False).to(dtype))
    added = torch.randn_like(expected).to(dtype)
    wide = F.pad(x, (2, 3, 1, 1))[..., 1:-1, 2:-3]
    for given in (x, wide, x.contiguous(memory_format=torch.channels_last)):
        _assert_close(packed(given), expected, dtype)
        _assert_close(activated(packed, given), expected.relu(), dtype)
        for sums in (added.clone(), added.contiguous(memory_format=torch.channels_last).clone()):
            _assert_close(activated(packed, given, sums), (expected + added).relu(), dtype)
        _assert_close(packed(given, added.clone()), expected + added, dtype)


@pytest.mark.usefixtures("supported")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", PACKED_FOR)
@torch.no_grad()
def test_weights_are_not_converted_in_a_call(
    size: tuple[int, int], dtype: torch.dtype, capfd: pytest.CaptureFixture[str]
) -> None:
    """oneDNN says what it runs."""
    packed = PackedConv2d(nn.Conv2d(512, 2048, 1).requires_grad_(False).to(dtype))
    x = torch.zeros(1, 512, *size, dtype=dtype).contiguous(memory_format=torch.channels_last)
    added = packed(x)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        packed(x)
        activated(packed, x, added)
    ran = [line for line in capfd.readouterr().out.splitlines() if ",exec," in line]
    assert sum(",convolution," in line for line in ran) == 2
    assert not any(",reorder," in line for line in ran)


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (101, 7), (40, 100)])
@torch.no_grad()
def test_what_follows_winograds_convolution(size: tuple[int, int], added: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 12, 3, padding=1)
    x = torch.randn(2, 8, *size)
    term = torch.randn(2, 12, *size) if added else None
    expected = activated(layer, x, term)
    torch.testing.assert_close(activated(WinogradConv2d(layer), x, term), expected, rtol=1e-4, atol=1e-5)


def test_what_is_replaced() -> None:
    layers = {"plain": nn.Conv2d(8, 8, 1), "normed": NormedConv2d(32, 32, 1, norm="GN"), "read": OnlyWeights(8, 8, 1)}
    network = nn.ModuleDict(layers).requires_grad_(False)
    pack_convolutions(network)
    if not supports(torch.float32):
        assert dict(network) == layers
        return
    assert isinstance(network["plain"], PackedConv2d)
    assert [type(each) for each in network["normed"].children()] == [PackedConv2d, nn.GroupNorm]
    assert network["read"] is layers["read"]


@pytest.mark.parametrize("supported", [True, False])
def test_products(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not supported:
        monkeypatch.setattr(onednn, "supports", lambda _: False)
    torch.manual_seed(0)
    x, weight = torch.randn(9, 11, 13), torch.randn(5, 13)
    for given in (x, torch.randn(10, 12, 13)[:-1, :-1].copy_(x)):
        torch.testing.assert_close(product(given, weight), x @ weight.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_detects_the_same(dtype: torch.dtype) -> None:
    changes = {"MODEL.FPN.OUT_CHANNELS": 128, "MODEL.TENSOR_MASK.SCORE_THRESH_TEST": 0.0}
    fused, plain = (
        Predictor(small_network(changes), torch.device("cpu"), dtype, winograd=False, fused=fused)
        for fused in (True, False)
    )
    assert any(isinstance(module, PackedConv2d) for module in fused.network.modules()) == supports(dtype)
    [found], [expected] = fused([noise(90, 120)]), plain([noise(90, 120)])
    assert len(found) == len(expected) > 0
    if dtype == torch.float32:  # bfloat16 rounds between the steps of the plain way
        assert_alike(found, expected)


class _Changed:
    """Operations with the same names and other arguments."""

    @staticmethod
    def default(*_: object) -> Tensor:
        raise TypeError

    binary = default


@pytest.mark.parametrize("name", ["_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight"])
def test_a_torch_that_changed_the_operations_keeps_its_own_convolutions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, name, _Changed(), raising=False)
    assert not supports.__wrapped__(torch.float32)


@pytest.mark.parametrize(("machine", "dtype"), [("aarch64", torch.float32), ("x86_64", torch.float16)])
def test_where_nothing_is_replaced(machine: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert not supports.__wrapped__(dtype)


def _assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)
    assert found.dtype == dtype
