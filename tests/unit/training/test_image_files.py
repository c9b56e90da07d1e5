"""Images that can't be learnt from are reported together, before the first step."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.training.small_training import SIZE, write_config, write_data
from training.annotations import DataError, read_annotations
from training.image_files import check_image_files
from training.settings import load_training_config
from training.trainer import Run, train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """With 16 images: 0 and 1 as they should be, and copies of the first."""
    folder = write_data(tmp_path / "data")
    content = json.loads((folder / "instances.json").read_text())
    for number in range(2, 16):
        (folder / "images" / f"{number}.png").write_bytes((folder / "images" / "0.png").read_bytes())
        content["images"].append({"id": 10 + number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE})
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def _check(data: Path) -> None:
    check_image_files(read_annotations(data / "instances.json")["images"], data / "images")


def test_whole_images_are_no_fault(data: Path) -> None:
    _check(data)


def test_missing_damaged_and_resized_images_are_reported_together(data: Path) -> None:
    images = data / "images"
    (images / "2.png").unlink()
    (images / "3.png").write_bytes(b"no image")
    whole = (images / "4.png").read_bytes()
    (images / "4.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (SIZE, SIZE + 1)).save(images / "5.png")
    with pytest.raises(DataError) as error:
        _check(data)
    said = str(error.value)
    assert said.startswith(f"4 of the 16 images of {data / 'images'} can't be used: ")
    assert [f"{number}.png" in said for number in range(1, 7)] == [False, True, True, True, True, False]
    assert "2.png is missing" in said
    assert f"has {SIZE + 1}×{SIZE} pixels" in said
    assert "\n" not in said


def test_the_first_ten_are_named_and_the_others_counted(data: Path) -> None:
    for number in range(2, 16):
        (data / "images" / f"{number}.png").unlink()
    with pytest.raises(DataError, match=r"14 of the 16 images of .* can't be used: .*11\.png.*; and 4 more$") as error:
        _check(data)
    assert "12.png" not in str(error.value)


def test_a_training_checks_them_before_its_first_step(tmp_path: Path, data: Path) -> None:
    (data / "images" / "15.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 16 images of .* can't be used"):
        train(load_training_config(write_config(tmp_path / "config.yaml")), Run(data, tmp_path / "out", workers=0))
    assert not (tmp_path / "out").exists()
