"""COCO's annotation files: read, and checked for what training and evaluation rely on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.regular_files import MOST_ANNOTATIONS, read_regular

from training.annotated_boxes import Box, BoxError, checked_box
from training.first_few import first_few
from training.segmentations import SegmentationError, checked_segmentation
from training.spelled_numbers import read_flag, read_whole_number

MOST_PIXELS = 178_956_970  # of an image: Pillow opens no larger one
MOST_NAMES = 10  # of images in a message


class DataError(ValueError):
    """Images or annotations that can't be used for training or evaluation. The message is one line."""


def read_annotations(path: Path) -> dict[str, Any]:
    """Reads an annotation file in COCO's format.

    Whole numbers may be written as 7, 7.0 or "7", and "iscrowd" as 0, "0" or false.

    Returns:
        The file's content. "images": each has "id" (int or str), "file_name", "height" and "width" in pixels.
        "categories": each has "id". "annotations": each has the "image_id" of an image, the "category_id" of a
        category, and "iscrowd" 0 or 1 where the file has it. All of these numbers are of type int.

    Raises:
        DataError: the file can't be read, or isn't an annotation file in COCO's format.
    """
    shown = printable(path)
    try:
        content: dict[str, Any] = json.loads(read_regular(path, MOST_ANNOTATIONS))
    except OSError as error:
        raise DataError(f"can't read the annotations {shown}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown} is not JSON: {one_line(error, 300)}") from error
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{shown} has no list {key!r} of objects; expected an annotation file in COCO's format")
    _number_categories(content["categories"], shown)
    _check_image_entries(content["images"], shown)
    _number_annotations(content, shown)
    return content


def category_ids(annotations: Mapping[str, Any]) -> list[int]:
    """COCO's category of each class, 0 … NUM_CLASSES-1: sorted by id, whatever gaps there are, as detectron2 maps them.

    Args:
        annotations: the content of a COCO annotation file.
    """
    return sorted(category["id"] for category in annotations["categories"])


def check_images(images: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Checks that all images of an annotation file are in a folder.

    Args:
        images: of an annotation file.

    Raises:
        DataError: there are none, or some are not in the folder, or lead out of it.
    """
    check_image_names(images, folder)
    absent = [image["file_name"] for image in images if not _is_file_in(folder, image["file_name"])]
    if absent:
        raise DataError(
            f"{len(absent)} of the annotation file's {len(images)} images are not in {printable(folder)}: "
            f"{first_names(absent)}"
        )


def check_image_names(images: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Checks the names of images, which could name any image of the machine.

    Raises:
        DataError: there are no images, or a name leads out of the folder.
    """
    if not images:
        raise DataError("the annotation file has no images")
    for name in (image["file_name"] for image in images):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(
                f"the annotation file names {printable(name)}; expected names within {printable(folder)}, without .."
            )


def first_names(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    return first_few([printable(name, 80) for name in names], MOST_NAMES)


def outline_of(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> Any:
    """The annotation's segmentation, checked.

    Args:
        annotation, image: of `read_annotations`.

    Returns:
        As `checked_segmentation`; an empty list where there is none.

    Raises:
        DataError: as `checked_segmentation`. The message names the annotation and the image.
    """
    try:
        return checked_segmentation(annotation.get("segmentation"), image["height"], image["width"])
    except SegmentationError as error:
        raise DataError(f"{annotation_name(annotation, image)}: {error}") from error


def box_of(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> Box | None:
    """The annotation's bbox, checked.

    Args:
        annotation, image: of `read_annotations`.

    Returns:
        As `checked_box`.

    Raises:
        DataError: as `checked_box`. The message names the annotation and the image.
    """
    try:
        return checked_box(annotation.get("bbox"), image["height"], image["width"])
    except BoxError as error:
        raise DataError(f"{annotation_name(annotation, image)}: {error}") from error


def annotation_name(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """The annotation by its id and image, for messages."""
    return f"annotation {printable(annotation.get('id'), 80)} (image {printable(image['file_name'], 80)})"


# --- checking entries -------------------------------------------------------------------------------------------------


def _number_categories(categories: list[dict[str, Any]], shown: str) -> None:
    ids = set()
    for category in categories:
        number = read_whole_number(category.get("id"))
        if number is None or number in ids:
            raise DataError(
                f"{shown} has categories with the id {quoted(category.get('id'))}; expected whole numbers, each once"
            )
        category["id"] = number
        ids.add(number)


def _check_image_entries(images: list[dict[str, Any]], shown: str) -> None:
    ids = set()
    for image in images:
        found = image.get("id")
        number = found if isinstance(found, str) else read_whole_number(found)  # a text stays, such as the file's name
        if number is None or number in ids:
            raise DataError(
                f"{shown} has images with the id {quoted(found)}; expected whole numbers or texts, each once"
            )
        image["id"] = number
        ids.add(number)
        name = f"image {printable(number)} of {shown}"
        if not isinstance(image.get("file_name"), str):
            raise DataError(f"{name} has no 'file_name'")
        for side in ("height", "width"):
            pixels = read_whole_number(image.get(side))
            if pixels is None or pixels < 1:
                raise DataError(
                    f"{name} has no 'height' and 'width'; expected its pixels, and found the {side} "
                    f"{quoted(image.get(side))}"
                )
            image[side] = pixels
        if image["height"] * image["width"] > MOST_PIXELS:
            raise DataError(
                f"{name} has {quoted(image['height'])}×{quoted(image['width'])} pixels (height × width); supported: "
                f"{MOST_PIXELS} pixels"
            )


def _number_annotations(content: dict[str, Any], shown: str) -> None:
    images = {image["id"]: image for image in content["images"]}
    texts_first = sorted(images, key=lambda image_id: isinstance(image_id, int))  # so that 7 has precedence over "7"
    by_number: dict[int | None, Any] = {read_whole_number(each): each for each in texts_first}
    by_number.pop(None, None)  # of texts that are no numbers
    categories = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        found = annotation.get("image_id")
        number = read_whole_number(found)
        image_id = found if isinstance(found, str) and found in images else by_number.get(number)
        if image_id is None:
            name = f"annotation {printable(annotation.get('id'), 80)} of {shown}"
            raise DataError(f"{name} has the image_id {quoted(found)}, which is none")
        annotation["image_id"] = image_id
        category = read_whole_number(annotation.get("category_id"))
        if category not in categories:
            name = f"{annotation_name(annotation, images[image_id])} of {shown}"
            raise DataError(f"{name} has the category_id {quoted(annotation.get('category_id'))}, which is none")
        annotation["category_id"] = category
        if "iscrowd" in annotation:
            crowd = False if annotation["iscrowd"] is None else read_flag(annotation["iscrowd"])
            if crowd is None:
                name = f"{annotation_name(annotation, images[image_id])} of {shown}"
                raise DataError(f"{name} has the iscrowd {quoted(annotation['iscrowd'])}; expected 0 or 1")
            annotation["iscrowd"] = int(crowd)


def _is_file_in(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
