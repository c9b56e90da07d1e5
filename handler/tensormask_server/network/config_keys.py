"""Refuses keys of a configuration that almost name a known one, and known ones in the wrong place.

A configuration can hold sections of other projects, which are ignored. So an unknown key isn't an error everywhere. But
one that a person has misspelt or put elsewhere would be ignored too, and the network would not be the one that was
meant.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tensormask_server.model_files.key_reader import ConfigError, KeyReader
from tensormask_server.printable import printable

# by section, the names that detectron2 and its TensorMask have there
_TOP = """_BASE_ MODEL INPUT DATASETS DATALOADER SOLVER TEST OUTPUT_DIR SEED CUDNN_BENCHMARK FLOAT32_PRECISION
    VIS_PERIOD GLOBAL VERSION"""
_MODEL = "META_ARCHITECTURE WEIGHTS PIXEL_MEAN PIXEL_STD MASK_ON BACKBONE FPN RESNETS ANCHOR_GENERATOR TENSOR_MASK"
_MODEL_OF_OTHER_NETWORKS = """DEVICE KEYPOINT_ON LOAD_PROPOSALS PROPOSAL_GENERATOR RPN ROI_HEADS ROI_BOX_HEAD
    ROI_BOX_CASCADE_HEAD ROI_MASK_HEAD ROI_KEYPOINT_HEAD SEM_SEG_HEAD PANOPTIC_FPN RETINANET"""
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "": tuple(_TOP.split()),
    "MODEL": tuple(_MODEL.split()),
    "MODEL.BACKBONE": ("NAME", "FREEZE_AT"),
}
# what inference reads in the sections whose keys are all known, for keys that were put elsewhere
_READ: Mapping[str, str] = {
    "MODEL.RESNETS": """DEPTH NUM_GROUPS WIDTH_PER_GROUP STRIDE_IN_1X1 STEM_OUT_CHANNELS RES2_OUT_CHANNELS
        RES5_DILATION""",
    "MODEL.FPN": "FUSE_TYPE",
    "MODEL.ANCHOR_GENERATOR": "SIZES ASPECT_RATIOS",
    "MODEL.TENSOR_MASK": """NUM_CLASSES NUM_CONVS CLS_CHANNELS BBOX_CHANNELS MASK_CHANNELS ALIGNED_ON BIPYRAMID_ON
        SCORE_THRESH_TEST TOPK_CANDIDATES_TEST NMS_THRESH_TEST BBOX_REG_WEIGHTS""",
    "INPUT": "FORMAT MIN_SIZE_TEST MAX_SIZE_TEST MIN_SIZE_TRAIN MAX_SIZE_TRAIN",
    "TEST": "DETECTIONS_PER_IMAGE",
}
# keys that may be near to one of these, and mean something else: MASKIOU_ON is Mask Scoring R-CNN's
_OF_OTHERS = frozenset({"MODEL.MASKIOU_ON", *(f"MODEL.{name}" for name in _MODEL_OF_OTHER_NETWORKS.split())})
_SECTION_SIMILARITY = 0.85  # of difflib's ratio; names of other projects' sections are often alike
_VALUE_SIMILARITY = 0.75
_SHORTEST_ABBREVIATION = 5  # characters


def check_keys(reader: KeyReader) -> None:
    """
    Raises:
        ConfigError: a key is near to a known one, has dots in it, or belongs in another section. The message names the
            key that is meant.
    """
    for section, names in _SECTIONS.items():
        for name, value in reader.section(section).items():
            if isinstance(name, str) and name not in names and _dotted(section, name) not in _OF_OTHERS:
                _check_unknown(section, name, value)
    for section in _READ:
        for name in reader.section(section):
            if isinstance(name, str):
                _check_dots(section, name)
                _check_place(section, name)


def _check_unknown(section: str, name: str, value: Any) -> None:
    """Checks a key that isn't known in an open section: is it another project's, or a mistake?"""
    _check_dots(section, name)
    alike = [known for known in _SECTIONS[section] if _letters(known) == _letters(name)]
    if alike:
        raise _mistake(section, name, _dotted(section, alike[0]))
    _check_place(section, name)
    cutoff = _SECTION_SIMILARITY if isinstance(value, Mapping) else _VALUE_SIMILARITY
    if not isinstance(value, Mapping) and len(name) >= _SHORTEST_ABBREVIATION:
        alike = [known for known in _SECTIONS[section] if known.startswith(name.upper())]
        if alike:
            raise _mistake(section, name, _dotted(section, alike[0]))
    near = difflib.get_close_matches(name[:100].upper(), _SECTIONS[section], n=1, cutoff=cutoff)
    if near:
        raise _mistake(section, name, _dotted(section, near[0]))


def _check_dots(section: str, name: str) -> None:
    """A dotted key stands for nothing in YAML. On detectron2's command line it stands for keys in one another."""
    if "." not in name:
        return
    first, *rest = name.split(".")
    known = {_letters(each): each for each in (*_SECTIONS[""], *_SECTIONS["MODEL"])}
    if _letters(first) in known and rest:
        path = [known[_letters(first)], *rest]
        if path[0] not in _SECTIONS[""]:
            path = ["MODEL", *path]
        written = ": {".join(path)
        raise ConfigError(
            f"{printable(_dotted(section, name))} is one key with dots in it, which YAML doesn't divide; did you mean "
            f"{printable(written)}: …{'}' * (len(path) - 1)}?"
        )


def _check_place(section: str, name: str) -> None:
    """A known key or section in another section than its own."""
    for place, names in _all_known():
        for known in names:
            if _letters(known) == _letters(name) and place != section and known not in _names_of(section):
                raise _mistake(section, name, _dotted(place, known))


def _all_known() -> Iterator[tuple[str, Iterable[str]]]:
    yield "", [name for name in _SECTIONS[""] if name != "_BASE_"]
    yield "MODEL", _SECTIONS["MODEL"]
    yield from ((section, names.split()) for section, names in _READ.items())


def _names_of(section: str) -> tuple[str, ...]:
    return _SECTIONS.get(section, ()) or tuple(_READ.get(section, "").split())


def _mistake(section: str, name: str, meant: str) -> ConfigError:
    return ConfigError(f"{printable(_dotted(section, name))} is not a known key (did you mean {meant}?)")


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name[:200].lower())
