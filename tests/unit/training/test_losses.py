"""The losses against their formulas, written plainly."""

from pathlib import Path

import torch
import torch.nn.functional as F
from small_training import write_config
from tensormask_server.network.align import swap_align2nat
from tensormask_server.network.masks import natural_masks

from training.data import Batch, Instances
from training.losses import Losses, focal_loss
from training.network import build_network
from training.settings import load_training_config


def test_focal_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(50), (torch.rand(50) < 0.3).float()
    p = logits.double().sigmoid()
    on = -0.3 * (1 - p) ** 3 * p.log()
    off = -0.7 * p**3 * (1 - p).log()
    expected = torch.where(targets > 0, on, off).sum()
    torch.testing.assert_close(focal_loss(logits, targets, gamma=3.0, alpha=0.3).double(), expected, rtol=1e-5, atol=0)


def test_focal_loss_is_finite_for_wild_logits() -> None:
    logits = torch.tensor([-200.0, 200.0], requires_grad=True)
    focal_loss(logits, torch.tensor([1.0, 0.0]), gamma=3.0, alpha=0.3).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([-0.3, 0.7]))


def test_masks_at_some_cells_have_the_gradients_of_masks_at_all() -> None:
    torch.manual_seed(0)
    features, weight, bias = torch.randn(5, 12, 16), torch.randn(9, 5, 1, 1), torch.randn(9)
    y, x = torch.tensor([0, 2, 5, 2]), torch.tensor([7, 3, 0, 3])
    inputs = [tensor.requires_grad_() for tensor in (features, weight, bias)]
    by_cell = natural_masks(*inputs, y, x, scale=2)
    everywhere = swap_align2nat(F.conv2d(features[None], weight, bias), scale=2, mask_size=3)[0]
    dense = everywhere[:, y, x].T.reshape(4, 6, 6)
    torch.testing.assert_close(by_cell, dense, rtol=1e-5, atol=1e-5)
    seed = torch.randn_like(dense)
    for few, all_of_it in zip(
        torch.autograd.grad(by_cell, inputs, seed), torch.autograd.grad(dense, inputs, seed), strict=True
    ):
        torch.testing.assert_close(few, all_of_it, rtol=1e-4, atol=1e-5)


def test_the_semantic_loss_asks_each_cell_what_its_centre_shows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = load_training_config(write_config(tmp_path / "config.yaml"))
    network = build_network(config)
    side = 128  # of P2 … P7 the last, of stride 128, has one cell
    masks = torch.zeros(2, side, side, dtype=torch.uint8)
    masks[0, 10:50, 20:60], masks[1, 70:128, 0:128] = 1, 1
    instances = Instances(torch.tensor([1, 0]), torch.tensor([[20, 10, 60, 50], [0, 70, 128, 128.0]]), masks)
    batch = Batch(torch.randn(1, 3, side, side), [instances])
    losses = Losses(network, config.losses, semantic_weight=2.0)
    expected = []
    for feature, stride in zip(network.features(batch.pictures), network.strides, strict=True):
        probabilities = losses.semantic(feature)[0].softmax(dim=0)  # (K + 1, H, W), the last of nothing
        for y in range(side // stride):
            for x in range(side // stride):
                at = (slice(None), y * stride + stride // 2, x * stride + stride // 2)
                shown = next((c for c, mask in zip((1, 0), masks[at], strict=True) if mask), 2)
                expected.append(-probabilities[shown, y, x].log() / (side // stride) ** 2)
    torch.testing.assert_close(losses(batch)["semantic"], 2 * torch.stack(expected).sum() / len(network.strides))


def test_the_name_loss_is_cross_entropy_over_the_classes_where_a_thing_is_assigned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = load_training_config(write_config(tmp_path / "config.yaml"))
    network = build_network(config)
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 26:39, 27:38] = 1
    instances = Instances(torch.tensor([1]), torch.tensor([[27, 26, 38, 39.0]]), masks)
    batch = Batch(torch.randn(1, 3, 64, 64), [instances])
    [logits, *_] = network.head.class_logits(network.features(batch.pictures))
    # P2's cells with a centre at most 4 pixels from the mask's, (32.5, 32.5), whose windows of 16 or 24 contain it
    cells = [(0, 8, 8), (1, 8, 8), (1, 8, 9), (1, 9, 8)]
    at_cells = torch.stack([logits[0, 2 * size : 2 * size + 2, y, x] for size, y, x in cells])  # K = 2
    expected = -at_cells.double().softmax(dim=1)[:, 1].log().mean()
    assert "name" not in Losses(network, config.losses)(batch)
    found = Losses(network, config.losses, name_weight=3.0)(batch)["name"]
    torch.testing.assert_close(found.double(), 3 * expected, rtol=1e-5, atol=0)
