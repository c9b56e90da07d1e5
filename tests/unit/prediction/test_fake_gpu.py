"""A GPU's path leaves no tensor on the wrong device, and returns to the host only where it says so."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server.network.batched_masks import BatchedMasks
from tensormask_server.network.detection import Selection
from tensormask_server.network.graphs import Graphs, record_nothing
from tensormask_server.network.norms import fold_norms
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.prediction.batched import BatchedPrediction, Input
from tensormask_server.prediction.mask_paths import path_by_operations
from tensormask_server.timing import Stopwatch

from tests.unit.fake_gpu import GPU, fake_gpu, to_fake_gpu
from tests.unit.host_copies import recorded_returns
from tests.unit.small_network import as_on_a_gpu, assert_alike, noise, small_config, small_predictor

NETWORKS: dict[str, dict[str, Any]] = {
    "aligned": {},
    "not aligned": {"MODEL.TENSOR_MASK.ALIGNED_ON": False, "MODEL.TENSOR_MASK.BIPYRAMID_ON": False},
    "boxes only": {"MODEL.MASK_ON": False},
}
INPUTS = [
    Input(noise(96, 130), 50, 70, Selection(0.01, 0.5, 20), 0.5),
    Input(noise(96, 131, seed=1), 96, 131, Selection(0.01, 0.6, 10, (0, 2)), 0.4),
    Input(noise(90, 129, seed=2), 90, 129, Selection(0.9999, 0.6, 10), 0.5),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS.keys())
def test_every_operation_has_its_tensors_on_the_gpu(
    changes: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers that the host needs come from a run on the CPU."""
    on_cpu = as_on_a_gpu(small_predictor(changes)).batched
    assert on_cpu is not None
    masks_on_cpu = BatchedMasks(on_cpu.network.head) if on_cpu.mask_path is not None else None
    if masks_on_cpu is not None:
        on_cpu.mask_path = path_by_operations(masks_on_cpu)
    with recorded_returns(monkeypatch) as returns, torch.inference_mode():
        expected = on_cpu(INPUTS, Stopwatch())
    assert [len(each) > 0 for each in expected] == [True, True, False]
    assert len(returns) == (1 if "MODEL.MASK_ON" in changes else 3)
    places = on_cpu._places_of(96, 160)
    with fake_gpu(returns, monkeypatch):
        network = TensorMask(small_config(changes)).eval()
        fold_norms(network)
        to_fake_gpu(network, dtype)
        prediction = BatchedPrediction(network, GPU, dtype, Graphs(record_nothing, 0))
        there = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)
            for name, tensor in vars(places).items()
            if isinstance(tensor, torch.Tensor)
        }
        prediction._places[96, 160] = replace(places, **there)
        if masks_on_cpu is not None:
            masks = BatchedMasks(network.head)
            masks._taps.update(masks_on_cpu._taps)
            prediction.mask_path = path_by_operations(masks)
        found = prediction(INPUTS, Stopwatch())
    assert not returns
    for ours, theirs in zip(found, expected, strict=True):
        assert_alike(ours, theirs)


def test_a_tensor_on_the_wrong_device_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu([], monkeypatch):
        there, here = torch.empty(3, device=GPU), torch.zeros(3, dtype=torch.int64)
        with pytest.raises(RuntimeError, match=r"same device|different devices"):
            there + here
        with pytest.raises(AssertionError):
            there[here]
        with pytest.raises(RuntimeError):
            np.asarray(there)
