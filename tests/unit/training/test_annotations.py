"""Annotation files that aren't COCO's are named before anything is learnt or measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.small_training import classes_and_masks, write_data
from training.annotations import DataError, category_ids, check_images, read_annotations
from training.coco_folder import CocoFolder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data") / "instances.json"


def test_whole_files_are_read(path: Path) -> None:
    content = read_annotations(path)
    assert content == json.loads(path.read_text())
    assert category_ids(content) == [5, 9]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("\udcff", "is not JSON"),
        ("[]", "has no list 'images' of objects"),
        ('{"images": [1]}', "has no list 'images' of objects"),
        ('{"images": [], "categories": []}', "has no list 'annotations' of objects"),
    ],
)
def test_what_is_no_annotation_file_is_told(path: Path, text: str, said: str) -> None:
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(DataError, match=said):
        read_annotations(path)


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("images", {"id": None}, "has images with the id None; expected whole numbers or texts, each once"),
        ("images", {"file_name": None}, "has no 'file_name'"),
        ("images", {"height": 0}, "has no 'height' and 'width'; expected its pixels"),
        ("images", {"width": 9.5}, "has no 'height' and 'width'; expected its pixels"),
        ("categories", {"id": "disc"}, "has categories with the id 'disc'; expected whole numbers, each once"),
        ("categories", {"id": 5}, "has categories with the id 5; expected whole numbers, each once"),
        ("annotations", {"image_id": 77}, "annotation 1 of .* has the image_id 77, which is none"),
        ("annotations", {"category_id": 77}, "annotation 1 .* has the category_id 77, which is none"),
        ("annotations", {"category_id": [5]}, r"annotation 1 .* has the category_id \[5\], which is none"),
    ],
)
def test_entries_that_do_not_fit_are_named(path: Path, key: str, change: dict[str, Any], said: str) -> None:
    content = json.loads(path.read_text())
    content[key][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        read_annotations(path)


def test_a_folder_without_annotations_or_images_is_told(path: Path) -> None:
    [image, *_] = sorted((path.parent / "images").iterdir())
    image.unlink()
    with pytest.raises(DataError, match=rf"1 of the annotation file's 2 images are not in .*: {image.name}$"):
        check_images(read_annotations(path)["images"], path.parent / "images")
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match="the annotation file has no images"):
        CocoFolder(path.parent)
    path.unlink()
    with pytest.raises(DataError, match=r"instances.json: No such file or directory; expected .* beside images/"):
        CocoFolder(path.parent)


@pytest.mark.parametrize(
    ("key", "spelling"),
    [
        ("images", {"id": "10"}),
        ("images", {"id": 10.0, "height": "96", "width": 96.0}),
        ("categories", {"id": "9"}),
        ("categories", {"id": 9.0}),
        ("annotations", {"image_id": "10", "category_id": 5.0, "iscrowd": "0"}),
        ("annotations", {"image_id": 10.0, "category_id": "5", "iscrowd": False}),
        ("annotations", {"iscrowd": None}),
        ("annotations", {"iscrowd": "false"}),
    ],
)
def test_numbers_may_be_spelled_in_several_ways(path: Path, key: str, spelling: dict[str, Any]) -> None:
    expected = CocoFolder(path.parent)
    content = json.loads(path.read_text())
    content[key][0] |= spelling
    path.write_text(json.dumps(content))
    found = CocoFolder(path.parent)
    assert found.category_ids == expected.category_ids
    for index in range(len(expected)):
        for each, other in zip(classes_and_masks(found, index), classes_and_masks(expected, index), strict=True):
            np.testing.assert_array_equal(each, other)


@pytest.mark.parametrize("iscrowd", [1, "1", True, 1.0])
def test_crowds_are_left_out_in_every_spelling(path: Path, iscrowd: object) -> None:
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = iscrowd
    path.write_text(json.dumps(content))
    assert read_annotations(path)["annotations"][0]["iscrowd"] == 1
    assert CocoFolder(path.parent).classes(0) == [1]


def test_an_id_as_it_stands_has_precedence_over_another_spelling(path: Path) -> None:
    content = json.loads(path.read_text())
    content["images"][0]["id"], content["images"][1]["id"] = "7", 7
    for annotation, image_id in zip(content["annotations"], ("7", 7, 7.0), strict=True):
        annotation["image_id"] = image_id
    path.write_text(json.dumps(content))
    assert [annotation["image_id"] for annotation in read_annotations(path)["annotations"]] == ["7", 7, 7]


@pytest.mark.parametrize("iscrowd", [2, "yes", "", [], [1], float("nan")])
def test_other_flags_are_named(path: Path, iscrowd: object) -> None:
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = iscrowd
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotation 1 \(image 0.png\) of .* has the iscrowd .*; expected 0 or 1"):
        read_annotations(path)


def test_an_image_of_more_pixels_than_any_file_is_named(path: Path) -> None:
    content = json.loads(path.read_text())
    content["images"][0]["height"] = 10**9
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"image 10 of .* has 1000000000×96 pixels .*; supported: 178956970 pixels"):
        read_annotations(path)
