"""The losses against their formulas, written plainly."""

from pathlib import Path

import torch
import torch.nn.functional as F
from tensormask_server.network.masks import natural_masks

from tests.unit.network.dense_align import swap_align2nat
from tests.unit.training.small_training import write_config
from training.batch import Batch, TrainingInstances
from training.losses import Losses, focal_loss
from training.network import network_to_train
from training.settings import load_training_config

# level, anchor, y and x of the windows that learn a mask of 11×13 pixels around (32.5, 32.5): they contain it, and
# their centres are at most 4 pixels from there (P2, of 16 and 24 pixels) or 8 (P3, of 32)
CELLS = [(0, 0, 8, 8), (0, 1, 8, 8), (0, 1, 8, 9), (0, 1, 9, 8), (1, 0, 4, 4), (1, 0, 4, 5), (1, 0, 5, 4)]


def test_focal_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(50), (torch.rand(50) < 0.3).float()
    p = logits.double().sigmoid()
    on = -0.3 * (1 - p) ** 3 * p.log()
    off = -0.7 * p**3 * (1 - p).log()
    expected = torch.where(targets > 0, on, off).sum()
    everything = torch.ones(50, dtype=torch.bool)
    found = focal_loss(logits, targets, gamma=3.0, alpha=0.3, counted=everything)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_focal_loss_is_finite_for_wild_logits() -> None:
    logits = torch.tensor([-200.0, 200.0], requires_grad=True)
    counted = torch.tensor([True, True])
    focal_loss(logits, torch.tensor([1.0, 0.0]), gamma=3.0, alpha=0.3, counted=counted).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([-0.3, 0.7]))


def test_masks_at_some_cells_have_the_gradients_of_masks_at_all() -> None:
    torch.manual_seed(0)
    features, weight, bias = torch.randn(5, 12, 16), torch.randn(9, 5, 1, 1), torch.randn(9)
    y, x = torch.tensor([0, 2, 5, 2]), torch.tensor([7, 3, 0, 3])
    inputs = [tensor.requires_grad_() for tensor in (features, weight, bias)]
    by_cell = natural_masks(features, weight, bias, y, x, scale=2)
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
    network = network_to_train(config)
    side = 128  # of P2 … P7 the last, of stride 128, has one cell
    masks = torch.zeros(2, side, side, dtype=torch.uint8)
    masks[0, 10:50, 20:60], masks[1, 70:128, 0:128] = 1, 1
    instances = TrainingInstances(torch.tensor([1, 0]), torch.tensor([[20, 10, 60, 50], [0, 70, 128, 128.0]]), masks)
    batch = Batch(torch.randn(1, 3, side, side), [instances])
    losses = Losses(network, config.losses, semantic_weight=2.0)
    expected = []
    for feature, stride in zip(network.features(batch.images), network.strides, strict=True):
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
    network = network_to_train(config)
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 26:39, 27:38] = 1
    instances = TrainingInstances(torch.tensor([1]), torch.tensor([[27, 26, 38, 39.0]]), masks)
    batch = Batch(torch.randn(1, 3, 64, 64), [instances])
    class_logits = network.head.class_logits(network.features(batch.images))
    at_cells = torch.stack([class_logits[at][0, 2 * size : 2 * size + 2, y, x] for at, size, y, x in CELLS])  # K = 2
    expected = -at_cells.double().softmax(dim=1)[:, 1].log().mean()
    assert "name" not in Losses(network, config.losses)(batch)
    found = Losses(network, config.losses, name_weight=3.0)(batch)["name"]
    torch.testing.assert_close(found.double(), 3 * expected, rtol=1e-5, atol=0)


def test_a_window_of_two_instances_is_no_background_to_the_class_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = load_training_config(write_config(tmp_path / "config.yaml"))
    network = network_to_train(config)
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[:, 26:39, 27:38] = 1
    instances = TrainingInstances(torch.tensor([1, 0]), torch.tensor([[27, 26, 38, 39.0]]).repeat(2, 1), masks)
    batch = Batch(torch.randn(1, 3, 64, 64), [instances])
    class_logits = network.head.class_logits(network.features(batch.images))
    off = [-0.7 * (p := logits.double().sigmoid()) ** 3 * (1 - p).log() for logits in class_logits]
    for at, size, y, x in CELLS:
        off[at][0, 2 * size : 2 * size + 2, y, x] = 0
    expected = torch.stack([each.sum() for each in off]).sum()  # with no foreground that it would be divided by
    torch.testing.assert_close(Losses(network, config.losses)(batch)["class"].double(), expected, rtol=1e-5, atol=0)
