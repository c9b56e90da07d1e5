"""Annotation files that aren't COCO's are named before anything is learnt or measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.small_training import write_data
from training.annotations import DataError, category_ids, read_annotations
from training.data import CocoFolder


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
        ("annotations", {"category_id": 77}, "annotation 1 of .* has the category_id 77, which is none"),
        ("annotations", {"category_id": [5]}, r"annotation 1 of .* has the category_id \[5\], which is none"),
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
    with pytest.raises(DataError, match=rf"1 of the annotation file's 2 images are not in .*, {image.name} for one"):
        CocoFolder(path.parent)
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match="the annotation file has no images"):
        CocoFolder(path.parent)
    path.unlink()
    with pytest.raises(DataError, match=r"can't read the annotations .*instances.json: No such file or directory"):
        CocoFolder(path.parent)
