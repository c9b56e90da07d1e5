"""Keys that are nearly right are refused with the right one, and what other projects write is ignored."""

from typing import Any

import pytest
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.network.config import parse_config

from tests.unit.small_network import SMALL, with_keys


@pytest.mark.parametrize(
    ("changes", "found", "meant"),
    [
        ({"MODEL.PIXEL_MEANS": [0.0, 0.0, 0.0]}, "MODEL.PIXEL_MEANS", "MODEL.PIXEL_MEAN"),
        ({"MODEL.PIXEL_STDS": [1.0, 1.0, 1.0]}, "MODEL.PIXEL_STDS", "MODEL.PIXEL_STD"),
        ({"MODEL.PIXELMEAN": [0.0, 0.0, 0.0]}, "MODEL.PIXELMEAN", "MODEL.PIXEL_MEAN"),
        ({"MODEL.mask_on": False}, "MODEL.mask_on", "MODEL.MASK_ON"),
        ({"MODEL.META_ARCH": "TensorMask"}, "MODEL.META_ARCH", "MODEL.META_ARCHITECTURE"),
        ({"MODEL.TENSORMASK": {"NUM_CLASSES": 3}}, "MODEL.TENSORMASK", "MODEL.TENSOR_MASK"),
        ({"MODEL.RESNET": {"DEPTH": 101}}, "MODEL.RESNET", "MODEL.RESNETS"),
        ({"MODEL.ANCHOR_GENERATORS": {"SIZES": [[8]]}}, "MODEL.ANCHOR_GENERATORS", "MODEL.ANCHOR_GENERATOR"),
        ({"MODEL.BACKBONE.Name": "x"}, "MODEL.BACKBONE.Name", "MODEL.BACKBONE.NAME"),
        ({"MODELS": {"MASK_ON": False}}, "MODELS", "MODEL"),
        ({"model": {"mask_on": False}}, "model", "MODEL"),
        ({"Input": {"FORMAT": "RGB"}}, "Input", "INPUT"),
        ({"test": None}, "test", "TEST"),
        ({"OUTPUT_DIR_BASE": "x"}, "OUTPUT_DIR_BASE", "OUTPUT_DIR"),
        ({"_BASE": "other.yaml"}, "_BASE", "_BASE_"),
        # in the wrong place
        ({"TENSOR_MASK": {"NUM_CLASSES": 3}}, "TENSOR_MASK", "MODEL.TENSOR_MASK"),
        ({"RESNETS": {"DEPTH": 18}}, "RESNETS", "MODEL.RESNETS"),
        ({"PIXEL_MEAN": [0, 0, 0]}, "PIXEL_MEAN", "MODEL.PIXEL_MEAN"),
        ({"MODEL.INPUT": {"FORMAT": "RGB"}}, "MODEL.INPUT", "INPUT"),
        ({"MODEL.TEST": {"DETECTIONS_PER_IMAGE": 3}}, "MODEL.TEST", "TEST"),
        ({"MODEL.MODEL": {"MASK_ON": False}}, "MODEL.MODEL", "MODEL"),
        ({"MODEL.NUM_CLASSES": 3}, "MODEL.NUM_CLASSES", "MODEL.TENSOR_MASK.NUM_CLASSES"),
        ({"MODEL.DEPTH": 18}, "MODEL.DEPTH", "MODEL.RESNETS.DEPTH"),
        ({"INPUT.PIXEL_MEAN": [0, 0, 0]}, "INPUT.PIXEL_MEAN", "MODEL.PIXEL_MEAN"),
        ({"TEST.SCORE_THRESH_TEST": 0.9}, "TEST.SCORE_THRESH_TEST", "MODEL.TENSOR_MASK.SCORE_THRESH_TEST"),
        ({"MODEL.TENSOR_MASK.MASK_ON": False}, "MODEL.TENSOR_MASK.MASK_ON", "MODEL.MASK_ON"),
        ({"MODEL.BACKBONE.DEPTH": 18}, "MODEL.BACKBONE.DEPTH", "MODEL.RESNETS.DEPTH"),
        ({"MODEL.RESNETS.FPN": {}}, "MODEL.RESNETS.FPN", "MODEL.FPN"),
        ({"MIN_SIZE_TEST": 3}, "MIN_SIZE_TEST", "INPUT.MIN_SIZE_TEST"),
    ],
)
def test_a_key_that_is_nearly_right_is_refused_with_the_right_one(
    changes: dict[str, Any], found: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(with_keys(SMALL, changes))
    assert str(caught.value) == f"{found} is not a known key (did you mean {meant}?)"


@pytest.mark.parametrize(
    ("section", "key", "written"),
    [
        ("", "MODEL.TENSOR_MASK.SCORE_THRESH_TEST", "MODEL: {TENSOR_MASK: {SCORE_THRESH_TEST: …}}"),
        ("", "model.MASK_ON", "MODEL: {MASK_ON: …}"),
        ("", "INPUT.FORMAT", "INPUT: {FORMAT: …}"),
        ("", "TENSOR_MASK.NUM_CLASSES", "MODEL: {TENSOR_MASK: {NUM_CLASSES: …}}"),
        ("MODEL", "RESNETS.DEPTH", "MODEL: {RESNETS: {DEPTH: …}}"),
        ("INPUT", "INPUT.FORMAT", "INPUT: {FORMAT: …}"),
    ],
)
def test_a_key_with_dots_is_refused_with_the_keys_in_one_another(section: str, key: str, written: str) -> None:
    tree = with_keys(SMALL, {})
    (tree[section] if section else tree)[key] = 1
    with pytest.raises(ConfigError) as caught:
        parse_config(tree)
    assert "is one key with dots in it" in str(caught.value)
    assert str(caught.value).endswith(f"did you mean {written}?")


@pytest.mark.parametrize(
    "changes",
    [
        {"MODEL.POINT_HEAD": {"NUM_CLASSES": 3}},
        {"MODEL.ROI_POINT_HEAD": {}, "MODEL.ROI_DENSEPOSE_HEAD": {"NUM_CLASSES": 2}},
        {"MODEL.FCOS": {"NUM_CLASSES": 80}, "MODEL.BiFPN": {"NORM": "GN"}, "MODEL.MASKIOU_ON": False},
        {"MODEL.BACKBONE.ANTI_ALIAS": False, "MODEL.SWIN": {"DEPTHS": [2, 2]}, "MODEL.VIT": 3},
        {"MODEL.RETINANET": {"NUM_CLASSES": 80, "MASK_ON": False}, "MODEL.ROI_HEADS.NUM_CLASSES": 80},
        {"SEMISUPNET": {"MLP_DIM": 128}, "WANDB": {"PROJECT": "x"}, "AUTHOR": "someone", "LOG_PERIOD": 20},
        {"SOLVER.BASE_LR": 0.1, "DATALOADER.NUM_WORKERS": 2, "GLOBAL.HACK": 1.0, "SEED": -1, "VIS_PERIOD": 0},
        {"my.note": 1},
    ],
)
def test_what_other_projects_and_other_networks_write_is_ignored(changes: dict[str, Any]) -> None:
    tree = with_keys(SMALL, {key: value for key, value in changes.items() if key != "my.note"})
    tree |= {key: value for key, value in changes.items() if key == "my.note"}
    tree[7] = "a key that isn't a text"
    assert parse_config(tree) == parse_config(SMALL)
