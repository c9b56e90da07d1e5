"""From a detectron2 YAML to typed dataclasses with what inference needs (docs/NETWORK.md, section 1).

Keys that inference doesn't need are ignored. A key that would change inference and isn't supported is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.model_files.key_reader import ConfigError, KeyReader, is_list, is_number
from tensormask_server.network.backbone import BackboneConfig
from tensormask_server.network.backbones import parse_backbone
from tensormask_server.network.config_keys import check_keys
from tensormask_server.network.norms import NORMS, check_groups
from tensormask_server.printable import quoted


@dataclass(frozen=True)
class FPNConfig:
    """MODEL.FPN"""

    in_features: tuple[str, ...]  # of the backbone, finest first, each with twice the stride of the one before
    finest_level: int  # log2 of the first one's stride
    out_channels: int
    fuse_type: str  # "sum" or "avg"
    norm: str = ""  # of lateral and output convolutions, in place of a bias: "", "BN" with fixed statistics, or "GN"

    @property
    def out_features(self) -> tuple[str, ...]:
        """The names of the pyramid's levels, finest first: one per feature map, and two above them."""
        last = self.finest_level + len(self.in_features) + 1
        return tuple(f"p{level}" for level in range(self.finest_level, last + 1))


@dataclass(frozen=True)
class AnchorConfig:
    """MODEL.ANCHOR_GENERATOR, with one entry per level of HeadConfig.in_features"""

    sizes: tuple[tuple[float, ...], ...]  # pixels of the resized image
    aspect_ratios: tuple[tuple[float, ...], ...]  # height / width

    @property
    def num_per_cell(self) -> int:
        """A: how many anchors a cell has."""
        return len(self.sizes[0]) * len(self.aspect_ratios[0])


@dataclass(frozen=True)
class HeadConfig:
    """MODEL.TENSOR_MASK (the towers) and MODEL.MASK_ON"""

    in_features: tuple[str, ...]  # "p2" … "p7", consecutive, finest first
    num_classes: int
    num_convs: int
    cls_channels: int
    bbox_channels: int
    mask_channels: int
    mask_on: bool
    aligned_on: bool
    bipyramid_on: bool

    @property
    def finest_stride(self) -> int:
        """S of the finest level: pixels of the network's input per cell."""
        return 1 << int(self.in_features[0][1:])


@dataclass(frozen=True)
class DetectionConfig:
    """MODEL.TENSOR_MASK (the selection) and TEST"""

    score_threshold: float  # only scores strictly above it are kept
    topk_candidates: int
    nms_threshold: float  # a box with an IoU strictly above it to a better one of its class is dropped
    bbox_reg_weights: tuple[float, float, float, float]
    max_detections: int


@dataclass(frozen=True)
class InputConfig:
    """INPUT, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD"""

    format: str  # "BGR" or "RGB": the order of pixel_mean, of pixel_std and of the network's input channels
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    min_size: int  # the resized image's shorter side, in pixels; 0: no resizing
    max_size: int  # the most pixels of its longer side


@dataclass(frozen=True)
class TensorMaskConfig:
    """Everything in a detectron2 configuration that TensorMask's inference depends on."""

    backbone: BackboneConfig
    fpn: FPNConfig
    anchors: AnchorConfig
    head: HeadConfig
    detection: DetectionConfig
    input: InputConfig


def load_config(path: str | Path) -> TensorMaskConfig:
    """Reads a detectron2 YAML file of a TensorMask network, with its `_BASE_` files.

    Raises:
        ConfigError: the file can't be read, isn't YAML, or has a value that isn't supported.
    """
    return parse_config(load_merged_yaml(path))


def parse_config(tree: Mapping[str, Any]) -> TensorMaskConfig:
    """Checks a merged detectron2 configuration and gives its values types. Defaults are detectron2's.

    Args:
        tree: as `load_merged_yaml` returns it.

    Raises:
        ConfigError: a key has a value that isn't supported, or isn't known in a section whose keys are all known.
    """
    reader = KeyReader(tree)
    check_keys(reader)
    _refuse_unsupported(reader)
    backbone = parse_backbone(reader)
    fpn = _fpn(reader, backbone)
    head = _head(reader, fpn)
    return TensorMaskConfig(
        backbone=backbone,
        fpn=fpn,
        anchors=_anchors(reader, head),
        head=head,
        detection=_detection(reader),
        input=_input(reader),
    )


# --- the sections -----------------------------------------------------------------------------------------------------


def _refuse_unsupported(reader: KeyReader) -> None:
    """Checks keys that would change inference and have only one supported value, and those without a section here."""
    reader.choice("VERSION", 2, (2,))
    reader.choice("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", ("TensorMask",))
    # the reference's TensorMask makes its anchors itself, and ignores both
    reader.checked("MODEL.ANCHOR_GENERATOR.NAME", "", "a name", lambda v: isinstance(v, str))
    reader.checked("MODEL.ANCHOR_GENERATOR.OFFSET", 0.0, "a number from 0 to 1", lambda v: is_number(v) and 0 <= v < 1)


def _fpn(reader: KeyReader, backbone: BackboneConfig) -> FPNConfig:
    reader.known_keys("MODEL.FPN", ("IN_FEATURES", "OUT_CHANNELS", "FUSE_TYPE", "NORM"))
    # P6 comes from the backbone's last map with a stride of 2, so the pyramid's level below must have that map's stride
    levels: dict[int, str] = {}
    for name, _, stride in backbone.feature_maps:
        levels.setdefault(stride.bit_length() - 1, name)
    names = tuple(levels.values())
    expected = f"{list(names)} or the end of it (the strides follow from {backbone.hints.strides})"
    key = "MODEL.FPN.IN_FEATURES"
    in_features = reader.checked(
        key, [], expected, lambda v: is_list(v) and len(v) > 0 and tuple(v) == names[-len(v) :]
    )
    norms = {"": "", **NORMS}
    fpn = FPNConfig(
        in_features=tuple(in_features),
        finest_level=list(levels)[-len(in_features)],
        out_channels=reader.integer("MODEL.FPN.OUT_CHANNELS", 256),
        fuse_type=reader.choice("MODEL.FPN.FUSE_TYPE", "sum", ("sum", "avg")),
        norm=norms[reader.choice("MODEL.FPN.NORM", "", tuple(norms))],
    )
    check_groups(fpn.norm, {"MODEL.FPN.OUT_CHANNELS": fpn.out_channels})
    return fpn


def _anchors(reader: KeyReader, head: HeadConfig) -> AnchorConfig:
    section = "MODEL.ANCHOR_GENERATOR"
    reader.known_keys(section, ("NAME", "SIZES", "ASPECT_RATIOS", "ANGLES", "OFFSET"))
    levels = len(head.in_features)
    anchors = AnchorConfig(
        sizes=_per_level(reader, f"{section}.SIZES", [[32, 64, 128, 256, 512]], levels),
        aspect_ratios=_per_level(reader, f"{section}.ASPECT_RATIOS", [[0.5, 1.0, 2.0]], levels),
    )
    if head.mask_on and min(anchors.sizes[0]) < head.finest_stride:
        raise ConfigError(
            f"{section}.SIZES has {min(anchors.sizes[0]):g} on the finest level; supported there: "
            f"{head.finest_stride} (its stride) or more, so that a mask has at least one pixel"
        )
    return anchors


def _per_level(reader: KeyReader, key: str, default: list[list[float]], levels: int) -> tuple[tuple[float, ...], ...]:
    """One list of numbers per level. As in detectron2, a flat list or a single list counts for every level."""
    expected = f"a list of lists of positive numbers, one per level ({levels}) or one for all, of one length"
    value = reader.checked(key, default, expected, lambda v: is_list(v) and len(v) > 0)
    lists = value if is_list(value[0]) else [value]
    lists = list(lists) * levels if len(lists) == 1 else lists
    for numbers in lists:
        good = is_list(numbers) and len(numbers) == len(lists[0]) > 0 and all(is_number(n) and n > 0 for n in numbers)
        if not good or len(lists) != levels:
            raise ConfigError(f"{key} is {quoted(value)}; supported: {expected}")
    return tuple(tuple(float(n) for n in numbers) for numbers in lists)


def _head(reader: KeyReader, fpn: FPNConfig) -> HeadConfig:
    section = "MODEL.TENSOR_MASK"
    inference = "IN_FEATURES NUM_CLASSES NUM_CONVS CLS_CHANNELS BBOX_CHANNELS MASK_CHANNELS ALIGNED_ON BIPYRAMID_ON"
    selection = "SCORE_THRESH_TEST TOPK_CANDIDATES_TEST NMS_THRESH_TEST BBOX_REG_WEIGHTS"
    training = "FOCAL_LOSS_GAMMA FOCAL_LOSS_ALPHA MASK_LOSS_WEIGHT POSITIVE_WEIGHT"
    reader.known_keys(section, (*inference.split(), *selection.split(), *training.split()))
    levels = fpn.out_features
    expected = f"consecutive levels of {list(levels)}, finest first, with MODEL.FPN.IN_FEATURES {list(fpn.in_features)}"
    head = HeadConfig(
        in_features=reader.consecutive(
            f"{section}.IN_FEATURES", ("p2", "p3", "p4", "p5", "p6", "p7"), levels, expected
        ),
        num_classes=reader.integer(f"{section}.NUM_CLASSES", 80),
        num_convs=reader.integer(f"{section}.NUM_CONVS", 4, most=64),
        cls_channels=reader.integer(f"{section}.CLS_CHANNELS", 256),
        bbox_channels=reader.integer(f"{section}.BBOX_CHANNELS", 128),
        mask_channels=reader.integer(f"{section}.MASK_CHANNELS", 128),
        mask_on=reader.boolean("MODEL.MASK_ON", False),
        aligned_on=reader.boolean(f"{section}.ALIGNED_ON", False),
        bipyramid_on=reader.boolean(f"{section}.BIPYRAMID_ON", False),
    )
    if head.bipyramid_on and not head.aligned_on:
        raise ConfigError(f"{section}.BIPYRAMID_ON is True; supported with {section}.ALIGNED_ON False: False")
    return head


def _detection(reader: KeyReader) -> DetectionConfig:
    section = "MODEL.TENSOR_MASK"
    evaluation = "EXPECTED_RESULTS EVAL_PERIOD KEYPOINT_OKS_SIGMAS AUG PRECISE_BN"
    reader.known_keys("TEST", ("DETECTIONS_PER_IMAGE", *evaluation.split()))
    return DetectionConfig(
        score_threshold=reader.number(f"{section}.SCORE_THRESH_TEST", 0.05, 0, 1),
        topk_candidates=reader.integer(f"{section}.TOPK_CANDIDATES_TEST", 6000),
        nms_threshold=reader.number(f"{section}.NMS_THRESH_TEST", 0.5, 0, 1),
        bbox_reg_weights=reader.numbers(
            f"{section}.BBOX_REG_WEIGHTS", (1.5, 1.5, 0.75, 0.75), "4 positive numbers", lambda n: n > 0
        ),
        max_detections=reader.integer("TEST.DETECTIONS_PER_IMAGE", 100),
    )


def _input(reader: KeyReader) -> InputConfig:
    training = "MIN_SIZE_TRAIN MIN_SIZE_TRAIN_SAMPLING MAX_SIZE_TRAIN RANDOM_FLIP CROP MASK_FORMAT"
    reader.known_keys("INPUT", ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST", *training.split()))
    return InputConfig(
        format=reader.choice("INPUT.FORMAT", "BGR", ("BGR", "RGB")),
        pixel_mean=reader.numbers(
            "MODEL.PIXEL_MEAN", (103.53, 116.28, 123.675), "3 numbers, one per channel", is_number
        ),
        pixel_std=reader.numbers("MODEL.PIXEL_STD", (1, 1, 1), "3 positive numbers, one per channel", lambda n: n > 0),
        min_size=reader.integer("INPUT.MIN_SIZE_TEST", 800, least=0),
        max_size=reader.integer("INPUT.MAX_SIZE_TEST", 1333),
    )
