"""COCO's annotation files: read, and checked for what training and evaluation rely on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.regular_files import MOST_ANNOTATIONS, read_regular


class DataError(ValueError):
    """Images or annotations that can't be learnt from or measured on, in one line."""


def read_annotations(path: Path) -> dict[str, Any]:
    """
    Returns:
        "images", each with "id", "file_name", "height" and "width" in pixels; "categories", each with "id"; and
        "annotations", each with the "image_id" of one of them and the "category_id" of one of those.

    Raises:
        DataError: it can't be read, or isn't an annotation file in COCO's format.
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
    categories = _ids(path, content["categories"], "categories", {int: "whole numbers"})
    images = _ids(path, content["images"], "images", {int: "whole numbers", str: "texts"})
    for image in content["images"]:
        if not isinstance(image.get("file_name"), str):
            raise DataError(f"image {printable(image['id'])} of {shown} has no 'file_name'")
        if not all(type(image.get(side)) is int and image[side] > 0 for side in ("height", "width")):
            raise DataError(
                f"image {printable(image['id'])} of {shown} has no 'height' and 'width'; expected its pixels"
            )
    for annotation in content["annotations"]:
        for key, ids in (("image_id", images), ("category_id", categories)):
            if type(annotation.get(key)) not in (int, str) or annotation[key] not in ids:
                found = annotation.get(key)
                name = f"annotation {printable(annotation.get('id'))} of {shown}"
                raise DataError(f"{name} has the {key} {quoted(found)}, which is none")
    return content


def category_ids(annotations: Mapping[str, Any]) -> list[int]:
    """COCO's category of each class, 0 … NUM_CLASSES-1: sorted by id, whatever gaps there are, as detectron2 maps them.

    Args:
        annotations: the content of a COCO annotation file.
    """
    return sorted(category["id"] for category in annotations["categories"])


def check_images(images: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """
    Args:
        images: of an annotation file.

    Raises:
        DataError: there are none, or some are not in the folder, or lead out of it.
    """
    if not images:
        raise DataError("the annotation file has no images")
    for name in (image["file_name"] for image in images):
        if Path(name).is_absolute() or ".." in Path(name).parts:  # else the file could name any image of the machine
            raise DataError(
                f"the annotation file names {printable(name)}; expected names within {printable(folder)}, without .."
            )
    absent = [image["file_name"] for image in images if not _is_file_in(folder, image["file_name"])]
    if absent:
        raise DataError(
            f"{len(absent)} of the annotation file's {len(images)} images are not in {printable(folder)}, "
            f"{printable(absent[0])} for one"
        )


def outline_of(annotation: Mapping[str, Any]) -> Any:
    """
    Returns:
        The annotation's segmentation: RLE as it is; of polygons those of three points and more, as detectron2 takes
        them; nothing where there is none.

    Raises:
        DataError: it is something else.
    """
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), list | str):
        return segmentation
    if not isinstance(segmentation, list | None) or not all(map(_is_polygon, segmentation or ())):
        raise DataError(
            f"the segmentation of annotation {printable(annotation.get('id'))} is {printable(str(segmentation)[:60])}; "
            "expected a list of polygons [x, y, x, y, …], or RLE"
        )
    return [polygon for polygon in segmentation or () if len(polygon) >= 6 and len(polygon) % 2 == 0]


def _is_file_in(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_polygon(polygon: Any) -> bool:
    return isinstance(polygon, list) and all(isinstance(number, int | float) for number in polygon)


def _ids(path: Path, entries: list[dict[str, Any]], name: str, kinds: Mapping[type, str]) -> set[Any]:
    ids = set()
    for entry in entries:
        found = entry.get("id")
        if type(found) not in kinds or found in ids:
            expected = " or ".join(kinds.values())
            raise DataError(f"{printable(path)} has {name} with the id {quoted(found)}; expected {expected}, each once")
        ids.add(found)
    return ids
