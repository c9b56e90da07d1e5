"""A configuration means what it means to detectron2, and what isn't supported is refused by name."""

from collections.abc import Mapping
from typing import Any

import pytest
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.network.config import (
    AnchorConfig,
    DetectionConfig,
    FPNConfig,
    HeadConfig,
    InputConfig,
    TensorMaskConfig,
    parse_config,
)
from tensormask_server.network.resnet import ResNetConfig

from tests.unit.small_network import with_keys

SUPPORTED = {
    "MODEL": {
        "META_ARCHITECTURE": "TensorMask",
        "BACKBONE": {"NAME": "build_retinanet_resnet_fpn_backbone"},
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"]},
    }
}


def supported_with(changes: Mapping[str, Any]) -> TensorMaskConfig:
    """What the smallest supported configuration and some dotted keys more are read as."""
    return parse_config(with_keys(SUPPORTED, changes))


def test_defaults_are_detectron2s() -> None:
    config = supported_with({})
    assert config.backbone == ResNetConfig(50, 1, 64, True, 64, 256, 1)
    assert config.fpn == FPNConfig(("res2", "res3", "res4", "res5"), 2, 256, "sum")
    assert config.anchors == AnchorConfig(((32.0, 64.0, 128.0, 256.0, 512.0),) * 6, ((0.5, 1.0, 2.0),) * 6)
    levels = ("p2", "p3", "p4", "p5", "p6", "p7")
    assert config.head == HeadConfig(levels, 80, 4, 256, 128, 128, False, False, False)
    assert config.detection == DetectionConfig(0.05, 6000, 0.5, (1.5, 1.5, 0.75, 0.75), 100)
    assert config.input == InputConfig("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), 800, 1333)


def test_keys_without_effect_on_inference_are_ignored() -> None:
    config = supported_with(
        {
            "DATASETS.TRAIN": '("coco_2017_train",)',
            "SOLVER": {"BASE_LR": 0.02, "STEPS": "(60000, 80000)"},
            "INPUT.MIN_SIZE_TRAIN": "(640, 672)",
            "MODEL.WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
            "MODEL.TENSOR_MASK.FOCAL_LOSS_ALPHA": 0.5,
            "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
            "MODEL.ANCHOR_GENERATOR.ANGLES": [[-90, 0, 90]],
            "OUTPUT_DIR": "./output",
            "VERSION": 2,
        }
    )
    assert config == supported_with({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("MODEL.RESNETS.NORM", norm) for norm in ("BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")),
        ("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator"),
        ("MODEL.ANCHOR_GENERATOR.OFFSET", 0.5),
    ],
)
def test_other_spellings_of_the_same_network_are_the_same(key: str, value: Any) -> None:
    assert supported_with({key: value}) == supported_with({})


def test_norms_of_the_pyramid_and_of_groups() -> None:
    assert {supported_with({"MODEL.FPN.NORM": norm}).fpn.norm for norm in ("BN", "SyncBN", "FrozenBN")} == {"BN"}
    assert supported_with({"MODEL.FPN.NORM": "GN"}).fpn.norm == "GN"
    backbone = supported_with({"MODEL.RESNETS.NORM": "GN"}).backbone
    assert isinstance(backbone, ResNetConfig)
    assert backbone.norm == "GN"


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("FPN", "OUT_CHANNELS", 48),
        ("RESNETS", "STEM_OUT_CHANNELS", 16),
        ("RESNETS", "RES2_OUT_CHANNELS", 100),
        ("RESNETS", "WIDTH_PER_GROUP", 8),
    ],
)
def test_channels_that_32_groups_cant_divide_are_refused(section: str, key: str, value: int) -> None:
    changes = {f"MODEL.{section}.NORM": "GN", f"MODEL.{section}.{key}": value}
    with pytest.raises(ConfigError, match=rf"{key} is {value}; supported with the norm GN: a multiple of 32"):
        supported_with(changes)


def test_strings_that_hold_python_literals_are_their_values() -> None:
    config = supported_with(
        {
            "MODEL.FPN.IN_FEATURES": '("res3", "res4", "res5")',
            "MODEL.TENSOR_MASK.IN_FEATURES": "['p3', 'p4']",
            "MODEL.TENSOR_MASK.BBOX_REG_WEIGHTS": "(1, 2, 3, 4)",
            "MODEL.TENSOR_MASK.NUM_CLASSES": "7",
            "MODEL.MASK_ON": "True",
            "MODEL.ANCHOR_GENERATOR.SIZES": "[[16], [32]]",
        }
    )
    assert config.fpn.in_features == ("res3", "res4", "res5")
    assert config.head.in_features == ("p3", "p4")
    assert config.head.finest_stride == 8
    assert config.detection.bbox_reg_weights == (1.0, 2.0, 3.0, 4.0)
    assert config.head.num_classes == 7
    assert config.head.mask_on is True
    assert config.anchors.sizes == ((16.0,), (32.0,))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([[16, 32]], ((16.0, 32.0),) * 6),
        ([16, 32], ((16.0, 32.0),) * 6),
        ([[8], [16], [32], [64], [128], [256]], ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,), (256.0,))),
    ],
)
def test_one_list_of_sizes_holds_for_every_level(sizes: list[Any], expected: tuple[tuple[float, ...], ...]) -> None:
    config = supported_with({"MODEL.ANCHOR_GENERATOR.SIZES": sizes, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [1]})
    assert config.anchors.sizes == expected
    assert config.anchors.aspect_ratios == ((1.0,),) * 6
    assert config.anchors.num_per_cell == len(expected[0])


def test_a_dilated_res5_ends_the_pyramid_one_level_earlier() -> None:
    """P6 is made of res5, which then has res4's stride, so the level above p4 is p5."""
    dilated = {
        "MODEL.RESNETS.RES5_DILATION": 2,
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4"],
        "MODEL.TENSOR_MASK.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    }
    config = supported_with(dilated)
    assert config.fpn.out_features == ("p2", "p3", "p4", "p5", "p6")
    assert [each.stride for each in config.backbone.feature_maps] == [4, 8, 16, 16]
    with pytest.raises(ConfigError, match=r"MODEL\.FPN\.IN_FEATURES .*RES5_DILATION"):
        supported_with(dilated | {"MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"]})
    with pytest.raises(ConfigError, match=r"MODEL\.TENSOR_MASK\.IN_FEATURES .*'p7'"):
        supported_with(dilated | {"MODEL.TENSOR_MASK.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6", "p7"]})


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Any, str]] = [
    ("VERSION", 1, "2"),
    ("MODEL.META_ARCHITECTURE", "RetinaNet", "'TensorMask'"),
    ("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "'build_retinanet_resnet_fpn_backbone'"),
    ("MODEL.RESNETS.DEPTH", 26, "18 or 34 or 50 or 101 or 152"),
    ("MODEL.RESNETS.NORM", "LN", "'FrozenBN' or 'BN'"),
    ("MODEL.RESNETS.NUM_GROUPS", 0, "a whole number from 1 to 65536"),
    ("MODEL.RESNETS.WIDTH_PER_GROUP", 1.5, "a whole number from 1 to 65536"),
    ("MODEL.RESNETS.STRIDE_IN_1X1", 1, "True or False"),
    ("MODEL.RESNETS.RES5_DILATION", 3, "1 or 2"),
    ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True], "no deformable convolutions"),
    ("MODEL.FPN.NORM", "LN", "'' or 'FrozenBN'"),
    ("MODEL.FPN.FUSE_TYPE", "max", "'sum' or 'avg'"),
    ("MODEL.FPN.IN_FEATURES", [], "['res2', 'res3', 'res4', 'res5'] or the end of it"),
    ("MODEL.FPN.IN_FEATURES", ["res2", "res4", "res5"], "['res2', 'res3', 'res4', 'res5'] or the end of it"),
    ("MODEL.FPN.IN_FEATURES", ["res2", "res3"], "['res2', 'res3', 'res4', 'res5'] or the end of it"),
    ("MODEL.ANCHOR_GENERATOR.NAME", 3, "a name"),
    ("MODEL.ANCHOR_GENERATOR.OFFSET", 1.5, "a number from 0 to 1"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16]], "one per level (6) or one for all"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128], [256, 512]], "of one length"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", [[8, -16]], "positive numbers"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", [[]], "a list of lists"),
    ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "wide", "a list of lists"),
    ("MODEL.TENSOR_MASK.IN_FEATURES", ["p2", "p4"], "consecutive levels"),
    ("MODEL.TENSOR_MASK.IN_FEATURES", ["p3", "p2"], "finest first"),
    ("MODEL.TENSOR_MASK.IN_FEATURES", "p2", "consecutive levels"),
    ("MODEL.TENSOR_MASK.NUM_CLASSES", "eighty", "a whole number from 1 to 65536"),
    ("MODEL.TENSOR_MASK.NUM_CLASSES", True, "a whole number from 1 to 65536"),
    ("MODEL.TENSOR_MASK.BIPYRAMID_ON", True, "False"),  # without ALIGNED_ON
    ("MODEL.TENSOR_MASK.SCORE_THRESH_TEST", 1.5, "a number from 0 to 1"),
    ("MODEL.TENSOR_MASK.SCORE_THRESH_TEST", float("nan"), "a number from 0 to 1"),
    ("MODEL.TENSOR_MASK.NMS_THRESH_TEST", None, "a number from 0 to 1"),
    ("MODEL.TENSOR_MASK.BBOX_REG_WEIGHTS", (1.0, 1.0, 0.0, 1.0), "4 positive numbers"),
    ("MODEL.MASK_ON", "maybe", "True or False"),
    ("MODEL.MASK_ON", "{[]: 1}", "True or False"),  # a literal that Python can't evaluate
    ("MODEL.PIXEL_MEAN", [1.0, 2.0], "3 numbers"),
    ("MODEL.PIXEL_MEAN", [1.0, 2.0, 10**400], "3 numbers"),  # more than a float holds
    ("MODEL.PIXEL_STD", [1.0, 0.0, 1.0], "3 positive numbers"),
    ("INPUT.FORMAT", "YUV-BT.601", "'BGR' or 'RGB'"),
    ("INPUT.MIN_SIZE_TEST", -1, "a whole number from 0 to 65536"),
    ("INPUT.MAX_SIZE_TEST", 0, "a whole number from 1 to 65536"),
    ("TEST.DETECTIONS_PER_IMAGE", 0, "a whole number from 1 to 65536"),
]


@pytest.mark.parametrize(("key", "value", "supported"), REFUSED, ids=[f"{key}={str(v)[:20]}" for key, v, _ in REFUSED])
def test_an_unsupported_value_is_refused_by_key_value_and_what_is_supported(
    key: str, value: Any, supported: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        supported_with({key: value})
    message, _, expectation = str(caught.value).partition("; supported")
    assert message.startswith(f"{key} is ")
    assert str(value)[:60] in message
    assert supported in expectation


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("MODEL.META_ARCHITECTURE", "MODEL.META_ARCHITECTURE is missing, and by default it is 'GeneralizedRCNN'; supp"),
        ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.NAME is missing, and by default it is 'build_resnet_backbone'; supp"),
        ("MODEL.FPN.IN_FEATURES", r"MODEL.FPN.IN_FEATURES is missing, and by default it is \[\]; supported: "),
    ],
)
def test_a_missing_key_is_refused_with_its_default(key: str, said: str) -> None:
    *sections, name = key.split(".")
    tree = with_keys(SUPPORTED, {})
    section = tree
    for each in sections:
        section = section[each]
    del section[name]
    with pytest.raises(ConfigError, match=said):
        parse_config(tree)


@pytest.mark.parametrize(("key", "value"), [("RES2_OUT_CHANNELS", 256), ("NUM_GROUPS", 32), ("RES5_DILATION", 2)])
def test_what_basic_blocks_cant_have_is_refused_with_the_depth(key: str, value: int) -> None:
    options = {"RES2_OUT_CHANNELS": 64, "DEPTH": 18}
    with pytest.raises(
        ConfigError, match=rf"MODEL\.RESNETS\.{key} is {value}; supported with MODEL\.RESNETS\.DEPTH 18"
    ):
        supported_with({"MODEL.RESNETS": options | {key: value}})


def test_a_mask_smaller_than_a_pixel_is_refused_where_there_are_masks() -> None:
    assert supported_with({"MODEL.ANCHOR_GENERATOR.SIZES": [[3]]}).anchors.sizes[0] == (3.0,)
    with pytest.raises(ConfigError, match=r"SIZES has 3 on the finest level; supported there: 4"):
        supported_with({"MODEL.ANCHOR_GENERATOR.SIZES": [[3]], "MODEL.MASK_ON": True})


@pytest.mark.parametrize(
    ("section", "typo", "meant"),
    [
        ("MODEL.TENSOR_MASK", "NUM_CLASES", "NUM_CLASSES"),
        ("MODEL.TENSOR_MASK", "SCORE_THRESHOLD_TEST", "SCORE_THRESH_TEST"),
        ("MODEL.RESNETS", "DEPHT", "DEPTH"),
        ("MODEL.FPN", "IN_FEATURE", "IN_FEATURES"),
        ("MODEL.ANCHOR_GENERATOR", "ASPECT_RATIO", "ASPECT_RATIOS"),
        ("INPUT", "MIN_SIZE_TSET", "MIN_SIZE_TEST"),
        ("TEST", "DETECTIONS_PER_IMG", "DETECTIONS_PER_IMAGE"),
    ],
)
def test_an_unknown_key_gets_the_nearest_name(section: str, typo: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        supported_with({f"{section}.{typo}": 1})
    assert str(caught.value).startswith(f"{section}.{typo} is not a known key (did you mean {meant}?); supported: ")


def test_an_unknown_key_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(ConfigError, match=r"QQQ is not a known key; supported: IN_FEATURES, OUT_CHANNELS"):
        supported_with({"MODEL.FPN.QQQ": 1})


@pytest.mark.parametrize("section", ["MODEL", "MODEL.FPN", "INPUT", "TEST"])
def test_a_section_that_is_no_mapping_is_refused_and_an_empty_one_is_not(section: str) -> None:
    with pytest.raises(ConfigError, match=f"{section} is 3; expected a mapping"):
        supported_with({section: 3})
    if section in ("INPUT", "TEST"):
        assert supported_with({section: None}) == supported_with({})
