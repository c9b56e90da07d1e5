"""What a training learns from, as a table before the first step."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
from tensormask_server.network.config import InputConfig
from tensormask_server.printable import printable

from training.annotated_boxes import LEAST_OVERLAP
from training.coco_folder import CocoFolder
from training.first_few import first_few
from training.resized_boxes import resized_boxes
from training.settings import ImageConfig

MOST_CLASSES = 100  # that the table lists; of more classes it lists the rarest
SHARES = {"smallest": 0, "10 %": 10, "median": 50, "90 %": 90, "largest": 100}  # percentiles
MOST_COINCIDING = 3  # named


def data_table(data: CocoFolder, options: ImageConfig, normalisation: InputConfig) -> str:
    """Describes a data set in lines of text.

    Returns:
        The numbers of images and instances; for each class the images that show it and its instances; what was left
        out, why, and the first annotation of each reason; the sizes of the instances in the network's input; and which
        boxes are doubtful.
    """
    return "\n".join(
        (
            *_totals(data),
            *_classes(data),
            *_left_out(data),
            *_sizes(data, options, normalisation),
            *_far_boxes(data),
            *_coinciding(data),
        )
    )


def _totals(data: CocoFolder) -> Iterator[str]:
    empty = [index for index in range(len(data)) if not data.classes(index)]
    without = len(data.all_entries) - len(data) + len(empty)
    fate = "trained on" if empty else "left out (DATALOADER.FILTER_EMPTY_ANNOTATIONS)"
    yield f"images: {len(data.all_entries)}, of which {without} without instances" + (f", {fate}" if without else "")
    yield f"instances: {sum(len(data.classes(index)) for index in range(len(data)))}"


def _classes(data: CocoFolder) -> Iterator[str]:
    images, instances = Counter[int](), Counter[int]()
    for index in range(len(data)):
        classes = data.classes(index)
        instances.update(classes)
        images.update(set(classes))
    listed = range(len(data.class_names))
    if len(listed) > MOST_CLASSES:
        rarest = sorted(listed, key=lambda each: instances[each])[:MOST_CLASSES]
        yield f"the {MOST_CLASSES} rarest of {len(listed)} classes:"
    else:
        rarest = list(listed)
    rows = [(printable(data.class_names[each], 40), images[each], instances[each]) for each in rarest]
    width = max(map(len, ("class", *(name for name, _, _ in rows))))
    yield f"  {'class':<{width}}  {'images':>8}  {'instances':>9}"
    for name, shown_by, number in rows:
        yield f"  {name:<{width}}  {shown_by:>8}  {number:>9}"


def _left_out(data: CocoFolder) -> Iterator[str]:
    if data.left_out:
        yield f"annotations left out: {sum(each.number for each in data.left_out.values())}"
    for reason in data.reasons():
        yield f"  {reason}"


def _sizes(data: CocoFolder, options: ImageConfig, normalisation: InputConfig) -> Iterator[str]:
    instances = data.boxes()
    yield "longer sides of the instances in the network's input, in pixels:"
    yield f"  {'shorter side of the image':<26}" + "".join(f"{name:>10}" for name in SHARES)
    for size in sorted({min(options.min_sizes), max(options.min_sizes)}):
        resizing = dataclasses.replace(normalisation, min_size=size, max_size=options.max_size)
        resized, _ = resized_boxes(instances, resizing)
        values = np.percentile((resized[:, 2:] - resized[:, :2]).max(axis=1), list(SHARES.values()))
        yield f"  {size:<26}" + "".join(f"{value:>10.0f}" for value in values)


def _far_boxes(data: CocoFolder) -> Iterator[str]:
    names = data.far_boxes()
    if names:
        yield (
            f"instances whose bbox is far from the box of their segmentation (IoU below {LEAST_OVERLAP}): "
            f"{len(names)}, the first is {names[0]}. The training learns the bbox, as [x, y, width, height] and not "
            "[x0, y0, x1, y1]"
        )


def _coinciding(data: CocoFolder) -> Iterator[str]:
    names = data.coinciding()
    if names:
        yield (
            f"{len(names)} instances have the box of another instance of their image, so no window can tell them apart "
            f"and none learns them: {first_few(names, MOST_COINCIDING)}"
        )
