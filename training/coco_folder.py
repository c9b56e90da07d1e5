"""A data set in COCO's format: the images and the instances that a training learns from."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_ANNOTATIONS, read_regular

from training.annotated_boxes import Box, is_far_from
from training.annotations import (
    DataError,
    annotation_name,
    box_of,
    category_ids,
    check_image_names,
    outline_of,
    read_annotations,
)
from training.image_files import read_listed_image
from training.resized_boxes import InstanceBoxes
from training.segmentations import CROWD, encoded_segmentation, reason_to_leave_out, segmentation_box

Annotation = dict[str, Any]


@dataclass
class LeftOut:
    """Annotations that a training leaves out for one reason."""

    first: str  # annotation, by its id and image
    number: int = 0


class CocoFolder:
    """A folder with images/ and instances.json.

    Annotations from which nothing can be learnt are left out, such as crowds. By default images without any other are
    left out too.
    """

    def __init__(self, folder: Path, keep_empty: bool = False):
        """
        Args:
            keep_empty: whether images without instances are trained on, as background.

        Raises:
            DataError: as `read_annotations`, `check_image_names`, `outline_of` and `box_of`; or no instance is left.
        """
        path = folder / "instances.json"
        self.folder = folder
        content = read_annotations(path)
        check_image_names(content["images"], folder / "images")
        self.sha256 = hashlib.sha256(read_regular(path, MOST_ANNOTATIONS)).hexdigest()
        self.category_ids = category_ids(content)
        self._classes = {category_id: index for index, category_id in enumerate(self.category_ids)}
        names = {category["id"]: category.get("name") for category in content["categories"]}
        self.class_names = [str(names[each] if names[each] is not None else each) for each in self.category_ids]
        self.all_entries: list[dict[str, Any]] = content["images"]
        self.left_out: dict[str, LeftOut] = {}  # by reason
        self._annotations: dict[Any, list[Annotation]] = {entry["id"]: [] for entry in self.all_entries}
        self._crowd_classes: dict[Any, set[int]] = {}  # by image
        self._sort(content["annotations"])
        if not any(self._annotations.values()):
            raise DataError(f"{printable(path)} has no instance to train on: {self._why_none(content['annotations'])}")
        self.entries = [entry for entry in self.all_entries if keep_empty or self._annotations[entry["id"]]]

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, index: int) -> np.ndarray:
        """Reads an image.

        Returns:
            uint8 (H, W, 3), RGB.

        Raises:
            DataError: as `read_listed_image`.
        """
        return read_listed_image(self.entries[index], self.folder / "images")

    def classes(self, index: int) -> list[int]:
        """The class of each of the image's M instances, 0 … NUM_CLASSES-1."""
        return [self._class(each) for each in self._annotations[self.entries[index]["id"]]]

    def mask(self, index: int, instance: int) -> np.ndarray:
        """The mask of the image's `instance`-th instance, uint8 (H, W), 0 or 1."""
        entry = self.entries[index]
        segmentation = self._annotations[entry["id"]][instance]["segmentation"]
        masks: np.ndarray = rle.decode([encoded_segmentation(segmentation, entry["height"], entry["width"])])
        return masks[..., 0]

    def classes_of_images(self) -> list[set[int]]:
        """The classes that each image shows. Those of crowds count as well, as detectron2 counts them."""
        return [
            set(self.classes(index)) | self._crowd_classes.get(entry["id"], set())
            for index, entry in enumerate(self.entries)
        ]

    def reasons(self) -> list[str]:
        """Why annotations were left out: for each reason their number, the reason and the first of them."""
        return [f"{each.number}: {reason}, the first is {each.first}" for reason, each in self.left_out.items()]

    def annotated_box(self, index: int, instance: int) -> Box | None:
        """The bbox of the image's `instance`-th instance; None where its mask's box counts instead."""
        box: Box | None = self._annotations[self.entries[index]["id"]][instance]["box"]
        return box

    def boxes(self) -> InstanceBoxes:
        """The boxes of all instances, without decoding masks."""
        boxes, shapes, annotated = [], [], []
        for entry in self.entries:
            for annotation in self._annotations[entry["id"]]:
                x0, y0, x1, y1 = _box(annotation, entry)
                if x0 < x1 and y0 < y1:
                    boxes.append((x0, y0, x1, y1))
                    shapes.append((entry["height"], entry["width"]))
                    annotated.append(annotation["box"] is not None)
        return InstanceBoxes(
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array(shapes, np.int64).reshape(-1, 2),
            np.array(annotated, bool),
        )

    def far_boxes(self) -> list[str]:
        """The instances whose bbox is used, and is far from the box of their segmentation."""
        return [
            annotation_name(annotation, entry)
            for entry in self.entries
            for annotation in self._annotations[entry["id"]]
            if annotation["box"] is not None and is_far_from(annotation["box"], _segmentation_box(annotation, entry))
        ]

    def coinciding(self) -> list[str]:
        """The instances whose box another instance of their image has as well, so that no window learns them."""
        names = []
        for entry in self.entries:
            annotations = self._annotations[entry["id"]]
            boxes = [_box(each, entry) for each in annotations]
            number = Counter(boxes)
            names += [
                annotation_name(annotation, entry)
                for annotation, box in zip(annotations, boxes, strict=True)
                if number[box] > 1
            ]
        return names

    def _sort(self, annotations: list[Annotation]) -> None:
        """Keeps the annotations that outline an instance, and counts the others."""
        entries = {entry["id"]: entry for entry in self.all_entries}
        faults: list[str] = []
        for annotation in annotations:
            entry = entries[annotation["image_id"]]
            try:
                outline, box = outline_of(annotation, entry), box_of(annotation, entry)
            except DataError as error:
                faults.append(str(error) if not faults else "")
                continue
            reason = reason_to_leave_out(annotation, outline, entry["height"], entry["width"])
            if reason is None:
                # of the rest of an annotation nothing is needed
                kept = {key: annotation.get(key) for key in ("id", "category_id")}
                self._annotations[entry["id"]].append({**kept, "segmentation": outline, "box": box})
                continue
            left_out = self.left_out.setdefault(reason, LeftOut(annotation_name(annotation, entry)))
            left_out.number += 1
            if reason == CROWD:
                self._crowd_classes.setdefault(entry["id"], set()).add(self._class(annotation))
        if faults:
            more = f"; {len(faults) - 1} other annotations have such a fault" if len(faults) > 1 else ""
            raise DataError(f"{printable(self.folder / 'instances.json')}: {faults[0]}{more}")

    def _class(self, annotation: Annotation) -> int:
        return self._classes[annotation["category_id"]]

    def _why_none(self, annotations: list[Annotation]) -> str:
        if not annotations:
            return "it has no annotations; expected instances with a segmentation"
        return (
            f"all of its {len(annotations)} annotations are left out. {'; '.join(self.reasons())}. Expected polygons "
            "or RLE in pixels"
        )


def _box(annotation: Annotation, entry: dict[str, Any]) -> Box:
    """The box of a kept annotation: its bbox, or else the box of its segmentation."""
    box: Box | None = annotation["box"]
    return _segmentation_box(annotation, entry) if box is None else box


def _segmentation_box(annotation: Annotation, entry: dict[str, Any]) -> Box:
    return segmentation_box(annotation["segmentation"], entry["height"], entry["width"])
