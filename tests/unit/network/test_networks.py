"""Networks of other depths, sizes and precisions than the reference's answers cover are built and answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensormask_server import load_predictor
from tensormask_server.network.detection import Selection
from tensormask_server.network.tensormask import TensorMask
from torch import Tensor

from tests.unit.network.dense_align import swap_align2nat
from tests.unit.small_network import assert_alike, noise, small_predictor

ANCHORS = "MODEL.ANCHOR_GENERATOR"


def test_bfloat16_is_close() -> None:
    """Nearly every detection is found again, with nearly the same box and mask."""
    [exact], [rounded] = (small_predictor(dtype=dtype)([noise(100, 140)]) for dtype in (torch.float32, torch.bfloat16))
    assert rounded.scores.dtype == rounded.boxes.dtype == np.float32
    assert exact.masks is not None
    assert rounded.masks is not None
    close = 0
    for i in range(len(exact)):
        same = (rounded.classes == exact.classes[i]) & (np.abs(rounded.boxes - exact.boxes[i]).max(axis=1) < 4)
        same &= np.abs(rounded.scores - exact.scores[i]) < 0.05
        close += any((rounded.masks[j] != exact.masks[i]).mean() < 0.02 for j in np.flatnonzero(same))
    assert close >= 0.8 * len(exact)


def test_a_precision_that_is_none_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision is 'int8'; expected one of float32, bfloat16, float16"):
        load_predictor(tmp_path / "missing.yaml", tmp_path / "missing.pkl", precision="int8")


def dense_masks(network: TensorMask, features: list[Tensor], level: int, size: int) -> Tensor:
    """docs/NETWORK.md, section 5, for the masks of all cells of a level: (M, M, H, W)."""
    head, options = network.head, network.config.head
    mask_features = head.mask_subnet(features[level])
    scale = 1
    if options.bipyramid_on:
        scale = 2**level
        finest = head.mask_subnet(features[0])
        upsampled = F.interpolate(mask_features, scale_factor=scale, mode="bilinear", align_corners=False)
        mask_features = head.mask_fuse(upsampled[:, :, : finest.shape[2], : finest.shape[3]] + finest)
    masks = head.get_submodule(f"mask_pred_{size:02d}")(mask_features)
    if options.aligned_on:
        masks = swap_align2nat(masks, scale, size)
    return masks[0].unflatten(0, (scale * size, scale * size))


@pytest.mark.parametrize(("aligned", "bipyramid"), [(True, True), (True, False), (False, False)])
@torch.no_grad()
def test_every_detection_has_the_mask_of_its_level_cell_and_size(aligned: bool, bipyramid: bool) -> None:
    """All ratios of a size share its masks: 3 sizes and 3 ratios are 9 anchors per cell."""
    sizes = (16, 20, 28)
    predictor = small_predictor(
        {
            f"{ANCHORS}.SIZES": [[size * 2**level for size in sizes] for level in range(6)],
            f"{ANCHORS}.ASPECT_RATIOS": [[0.5, 1, 2]],
            "MODEL.TENSOR_MASK.ALIGNED_ON": aligned,
            "MODEL.TENSOR_MASK.BIPYRAMID_ON": bipyramid,
            "TEST.DETECTIONS_PER_IMAGE": 200,
        }
    )
    network = predictor.network
    images = torch.from_numpy(noise(128, 160)).permute(2, 0, 1)[None].float() - 114
    [output] = network(images, [Selection(0.0, 0.5, 200)])
    found = output.candidates
    assert output.masks is not None
    assert set((found.anchors // 3).tolist()) == {0, 1, 2}
    assert set(found.levels.tolist()) >= {0, 1, 2}
    features = network.features(images)
    places = zip(*(each.tolist() for each in (found.levels, found.anchors // 3, found.y, found.x)), strict=True)
    for mask, (level, size_index, y, x) in zip(output.masks, places, strict=True):
        expected = dense_masks(network, features, level, sizes[size_index] // 4)[:, :, y, x]
        torch.testing.assert_close(mask, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"MODEL.RESNETS.DEPTH": 101}, id="101"),
        pytest.param({"MODEL.RESNETS.DEPTH": 152, "MODEL.RESNETS.STRIDE_IN_1X1": False}, id="152, stride in the 3×3"),
        pytest.param({"MODEL.RESNETS.NUM_GROUPS": 4, "MODEL.RESNETS.WIDTH_PER_GROUP": 4}, id="4 groups"),
        pytest.param(
            {
                "MODEL.RESNETS.RES5_DILATION": 2,
                "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4"],
                "MODEL.TENSOR_MASK.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
                f"{ANCHORS}.SIZES": [[16 * 2**level] for level in range(5)],
            },
            id="dilated res5",
        ),
        pytest.param(
            {"MODEL.TENSOR_MASK.IN_FEATURES": ["p3", "p4"], f"{ANCHORS}.SIZES": [[32], [64]]}, id="two levels"
        ),
        pytest.param({"MODEL.TENSOR_MASK.NUM_CLASSES": 1, "TEST.DETECTIONS_PER_IMAGE": 1}, id="one class"),
    ],
)
def test_other_networks_answer_as_the_small_one_does(changes: dict[str, Any]) -> None:
    predictor = small_predictor({"MODEL.TENSOR_MASK.SCORE_THRESH_TEST": 0.001, **changes})
    images = [noise(100, 140), noise(60, 70), noise(100, 140, seed=1)]
    for image, found in zip(images, predictor(images), strict=True):
        assert 0 < len(found) <= predictor.config.detection.max_detections
        assert found.masks is not None
        assert found.masks.shape == (len(found), *image.shape[:2])
        assert_alike(found, predictor([image])[0])
