"""The models that this package knows by name, and where their files are."""

import os
from dataclasses import dataclass
from pathlib import Path

from tensormask_server.models.errors import ModelError
from tensormask_server.printable import quoted
from tensormask_server.spelling import did_you_mean

PACKAGE = Path(__file__).parents[1]
# A wheel has configs/ and demo/model/ in the package. In a clone they stand at the top level.
SHIPPED = PACKAGE if (PACKAGE / "configs").is_dir() else PACKAGE.parents[1]
PUBLISHED = "https://dl.fbaipublicfiles.com/detectron2/TensorMask"
MIRROR_VARIABLE = "TENSORMASK_MODEL_URL"  # an https URL in the place of PUBLISHED
DETECTRON2 = "https://github.com/facebookresearch/detectron2/tree/main/projects/TensorMask"


@dataclass(frozen=True)
class ListedModel:
    """One row of the table."""

    name: str
    config: str  # the path of a file that this package ships, below SHIPPED
    weights: str  # a path below PUBLISHED, or of a file that this package ships
    size: int  # bytes of the weights; of published ones about
    classes: str  # what it knows, in words
    licence: str
    sha256: str = ""  # of the weights; of published ones the first digits, which is all that is known
    box_ap: float | None = None  # on COCO's val2017
    mask_ap: float | None = None
    class_names: str | None = None  # the path of a file that this package ships; None: COCO's
    samples: str | None = None  # the path of a folder that this package ships; None: there are none
    is_published: bool = True  # False: the package ships the weights

    @property
    def file_name(self) -> str:
        return self.weights.rpartition("/")[2]


MODELS = (
    ListedModel(
        name="tensormask_R_50_FPN_6x",
        config="configs/tensormask_R_50_FPN_6x.yaml",
        weights="tensormask_R_50_FPN_6x/153538791/model_final_e8df31.pkl",
        size=146_500_000,
        sha256="e8df31",
        box_ap=41.4,
        mask_ap=35.8,
        classes="COCO's 80 classes, in photographs",
        licence=f"detectron2's: see {DETECTRON2}",
    ),
    ListedModel(
        name="tensormask_R_50_FPN_1x",
        config="configs/tensormask_R_50_FPN_1x.yaml",
        weights="tensormask_R_50_FPN_1x/152549419/model_final_8f325c.pkl",
        size=146_500_000,
        sha256="8f325c",
        box_ap=37.6,
        mask_ap=32.4,
        classes="COCO's 80 classes, in photographs",
        licence=f"detectron2's: see {DETECTRON2}",
    ),
    ListedModel(
        name="demo",
        config="demo/model/config.yaml",
        weights="demo/model/weights.pkl",
        size=4_426_794,
        sha256="42f2985566d0119aed362798cf1a0027350f135cd5857b51c7fee06559a03253",
        class_names="demo/model/classes.txt",
        samples="demo/model/samples",
        classes="20 kinds of drawings (emoji), and no photographs",
        licence="Apache-2.0, of drawings named in demo/README.md",
        is_published=False,
    ),
)
NAMES = tuple(model.name for model in MODELS)


def model_named(name: str) -> ListedModel:
    """The model of this name.

    Raises:
        ModelError: there is none. The message has the names that there are.
    """
    for model in MODELS:
        if model.name == name:
            return model
    hint = "; a configuration needs its weights too" if name.endswith((".yaml", ".yml")) else did_you_mean(name, NAMES)
    raise ModelError(f"there is no model {quoted(name)}{hint}; expected one of {', '.join(NAMES)}")


def model_of_file(file_name: str) -> ListedModel | None:
    """The published model whose weights have this file name, if there is one."""
    return next((model for model in MODELS if model.is_published and model.file_name == file_name), None)


def weights_url(model: ListedModel) -> str:
    """Where a published model's weights are: where they were published, or at a mirror.

    TENSORMASK_MODEL_URL names the mirror: a folder with the published paths below it, or the file itself.
    """
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if mirror.rpartition("/")[2] == model.file_name:
        return mirror
    return f"{(mirror or PUBLISHED).rstrip('/')}/{model.weights}"
