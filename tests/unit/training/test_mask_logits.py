"""Both ways to the mask logits of a batch give the same losses and gradients, one of them in few operations."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.operations import Operations
from tests.unit.training.small_training import write_config
from training import losses as losses_module
from training import window_products
from training.batch import Batch, TrainingInstances
from training.losses import Losses
from training.mask_logits import all_at_once, by_regions, way_for
from training.network import network_to_train
from training.settings import load_training_config

SIDE = 128
MOST_OPERATIONS = 1500  # of the losses, beside the network's, whatever the number of images and instances
Make = Callable[..., Losses]


@pytest.fixture
def losses(tmp_path: Path) -> Make:
    def make(aligned: bool = True, bipyramid: bool = True, sizes: list[int] | None = None) -> Losses:
        torch.manual_seed(0)
        config = load_training_config(write_config(tmp_path / "config.yaml"))
        head = dataclasses.replace(config.network.head, aligned_on=aligned, bipyramid_on=bipyramid)
        anchors = config.network.anchors
        if sizes is not None:
            of_levels = tuple(tuple(float(size * 2**level) for size in sizes) for level in range(len(anchors.sizes)))
            anchors = dataclasses.replace(anchors, sizes=of_levels)
        network = dataclasses.replace(config.network, head=head, anchors=anchors)
        return Losses(network_to_train(dataclasses.replace(config, network=network)), config.losses, 1.0, 0.5)

    return make


def _batch(counts: list[int]) -> Batch:
    """Rectangles, which may overlap and touch the borders, on images of noise."""
    torch.manual_seed(1)
    instances = []
    for count in counts:
        corners = torch.randint(0, SIDE - 8, (count, 2))
        ends = (corners + torch.randint(6, 90, (count, 2))).clamp(max=SIDE)
        masks = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
        for mask, (x0, y0), (x1, y1) in zip(masks, corners.tolist(), ends.tolist(), strict=True):
            mask[y0:y1, x0:x1] = 1
        boxes = torch.cat((corners, ends), dim=1).float()
        instances.append(TrainingInstances(torch.randint(0, 2, (count,)), boxes, masks))
    return Batch(torch.randn(len(counts), 3, SIDE, SIDE), instances)


@pytest.mark.parametrize("counts", [[3, 0, 6], [0, 0], [1]])
@pytest.mark.parametrize("options", [(True, True), (True, False), (False, False), (True, True, [20, 28])])
def test_both_ways_give_the_same_losses_and_gradients(
    losses: Make, monkeypatch: pytest.MonkeyPatch, counts: list[int], options: tuple[object, ...]
) -> None:
    """Masks of 5 and 7 entries sample the map at its cells, the others halfway between them."""
    criterion, batch = losses(*options), _batch(counts)
    found = {}
    for way in (by_regions, all_at_once):
        monkeypatch.setattr(losses_module, "way_for", lambda _, way=way: way)
        values = criterion(batch)
        criterion.zero_grad()
        torch.autograd.backward(list(values.values()))
        gradients = {name: each.grad for name, each in criterion.named_parameters() if each.grad is not None}
        found[way] = {name: each.detach() for name, each in values.items()}, gradients
    if len(counts) != 1:
        assert (found[by_regions][0]["mask"] > 0) == any(counts)
    for few, all_of_it in zip(*found.values(), strict=True):
        assert few.keys() == all_of_it.keys()
        for name, expected in few.items():
            difference = (all_of_it[name] - expected).norm()
            assert difference <= 1e-4 * expected.norm() + 1e-6, (name, difference, expected.norm())


def test_windows_that_are_taken_in_parts_change_nothing(losses: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    criterion, batch = losses(), _batch([5, 4])
    monkeypatch.setattr(losses_module, "way_for", lambda _: all_at_once)
    found = []
    for most in (window_products.MOST_NUMBERS, 5000):
        monkeypatch.setattr(window_products, "MOST_NUMBERS", most)
        loss = criterion(batch)["mask"]
        gradients = torch.autograd.grad(loss, list(criterion.network.head.mask_subnet.parameters()))
        found.append((loss.detach(), *gradients))
    for whole, in_parts in zip(*found, strict=True):
        torch.testing.assert_close(in_parts, whole, rtol=1e-4, atol=1e-6)


def test_a_step_takes_few_operations_however_many_instances_there_are(
    losses: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those on the host are counted as well; by regions it is many times as many."""
    criterion, batch = losses(), _batch([12] * 8)
    monkeypatch.setattr(losses_module, "way_for", lambda _: all_at_once)
    with torch.no_grad(), Operations() as of_network:
        criterion.network.features(batch.images)
    with Operations() as of_losses:
        torch.autograd.backward(list(criterion(batch).values()))
    assert sum(of_losses.counts.values()) - sum(of_network.counts.values()) < MOST_OPERATIONS + _of_backbone(criterion)


def _of_backbone(criterion: Losses) -> int:
    """An upper bound of the backward operations of the features: a few for each module."""
    return 4 * sum(1 for _ in criterion.network.backbone.modules())


def test_a_cpu_computes_regions_and_a_gpu_all_at_once() -> None:
    assert way_for(torch.device("cpu")) is by_regions
    assert way_for(torch.device("cuda")) is all_at_once
