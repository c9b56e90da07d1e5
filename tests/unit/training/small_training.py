"""A network that trains in seconds and a data set of a few simple images, for the tests of training."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from pycocotools import mask as rle

from training.coco_folder import CocoFolder
from training.segmentations import encoded_segmentation

SIZE = 96
DISC, SQUARE = 5, 9  # categories, with gaps as COCO has
CONFIG = {
    "MODEL": {
        "META_ARCHITECTURE": "TensorMask",
        "MASK_ON": True,
        "BACKBONE": {"NAME": "build_retinanet_resnet_fpn_backbone"},
        "PIXEL_STD": [57.4, 57.1, 58.4],
        "RESNETS": {
            "DEPTH": 50,
            "NORM": "FrozenBN",
            "STEM_OUT_CHANNELS": 8,
            "RES2_OUT_CHANNELS": 32,
            "WIDTH_PER_GROUP": 8,
        },
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 32, "FUSE_TYPE": "avg"},
        "ANCHOR_GENERATOR": {
            "SIZES": [[16, 24], [32, 48], [64, 96], [128, 192], [256, 384], [512, 768]],
            "ASPECT_RATIOS": [[1.0]],
        },
        "TENSOR_MASK": {
            "NUM_CLASSES": 2,
            "NUM_CONVS": 1,
            "CLS_CHANNELS": 32,
            "BBOX_CHANNELS": 32,
            "MASK_CHANNELS": 32,
            "ALIGNED_ON": True,
            "BIPYRAMID_ON": True,
        },
    },
    "SOLVER": {
        "IMS_PER_BATCH": 2,
        "BASE_LR": 0.002,
        "MAX_ITER": 4,
        "STEPS": [],
        "WARMUP_ITERS": 2,
        "CHECKPOINT_PERIOD": 2,
    },
    "INPUT": {"MIN_SIZE_TRAIN": [SIZE], "MIN_SIZE_TEST": SIZE, "RANDOM_FLIP": "none"},
}


def write_config(path: Path, norm: str = "FrozenBN", **solver: object) -> Path:
    tree = json.loads(json.dumps(CONFIG))
    tree["MODEL"]["RESNETS"]["NORM"] = norm
    tree["SOLVER"] |= solver
    path.write_text(yaml.safe_dump(tree))
    return path


def write_data(folder: Path) -> Path:
    """Two images: a square on a disc, and a square alone; the squares as polygons, the disc as RLE."""
    (folder / "images").mkdir(parents=True)
    y, x = np.mgrid[:SIZE, :SIZE]
    disc = (y - 43) ** 2 + (x - 38) ** 2 < 31**2
    lower, upper = _square(x, y, 45, 50, 38), _square(x, y, 13, 18, 44)
    images: list[list[tuple[int, tuple[int, int, int], np.ndarray, tuple[int, int, int] | None]]] = [
        [(DISC, (200, 40, 40), disc & ~lower, None), (SQUARE, (40, 60, 220), lower, (45, 50, 38))],
        [(SQUARE, (240, 220, 60), upper, (13, 18, 44))],
    ]
    entries, annotations = [], []
    for index, things in enumerate(images):
        pixels = np.full((SIZE, SIZE, 3), 90 + 60 * index, np.uint8)
        for category_id, colour, mask, corner in things:
            pixels[mask] = colour
            segmentation = _run_lengths(mask) if corner is None else _polygon(*corner)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 + index,
                    "category_id": category_id,
                    "segmentation": segmentation,
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        entries.append({"id": 10 + index, "file_name": f"{index}.png", "width": SIZE, "height": SIZE})
    categories = [{"id": SQUARE, "name": "square"}, {"id": DISC, "name": "disc"}]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def write_scored_data(folder: Path) -> Path:
    """As `write_data`, with the boxes and areas that COCO's scores need."""
    write_data(folder)
    content = json.loads((folder / "instances.json").read_text())
    for annotation in content["annotations"]:
        mask = encoded_segmentation(annotation["segmentation"], SIZE, SIZE)
        annotation |= {"bbox": rle.toBbox(mask).tolist(), "area": int(rle.area(mask))}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def _square(x: np.ndarray, y: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    inside: np.ndarray = (x >= left) & (x < left + side) & (y >= top) & (y < top + side)
    return inside


def _polygon(left: int, top: int, side: int) -> list[list[int]]:
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def _run_lengths(mask: np.ndarray) -> dict[str, object]:
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def classes_and_masks(data: CocoFolder, index: int) -> tuple[list[int], np.ndarray]:
    """An image's M classes, and masks uint8 (M, H, W), 0 or 1."""
    classes, entry = data.classes(index), data.entries[index]
    masks = [data.mask(index, instance) for instance in range(len(classes))]
    return classes, np.array(masks, np.uint8).reshape(-1, entry["height"], entry["width"])
