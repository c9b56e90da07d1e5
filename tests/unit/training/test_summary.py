"""What a training says about its data before the first step."""

import json
from pathlib import Path

import pytest

from tests.unit.training.small_training import DISC, SIZE, write_config, write_data
from training.coco_folder import CocoFolder
from training.settings import load_training_config
from training.summary import data_table
from training.trainer import Run, train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five more annotations: four outline nothing, and one coincides with another. The third image is empty."""
    folder = write_data(tmp_path / "data")
    path = folder / "instances.json"
    content = json.loads(path.read_text())
    for number, changed in enumerate(
        ({"iscrowd": 1}, {"segmentation": []}, {"segmentation": None}, {"segmentation": [[]]}), start=4
    ):
        content["annotations"].append({**content["annotations"][1], "id": number, **changed})
    content["annotations"].append({**content["annotations"][2], "id": 8, "category_id": DISC})
    content["images"].append({"id": 12, "file_name": "0.png", "width": SIZE, "height": SIZE})
    path.write_text(json.dumps(content))
    return folder


def _table(data: CocoFolder, folder: Path) -> list[str]:
    config = load_training_config(write_config(folder / "config.yaml"))
    return data_table(data, config.images, config.network.input).splitlines()


def test_the_table_has_what_is_learnt_from_and_what_is_left_out(tmp_path: Path, data: Path) -> None:
    assert _table(CocoFolder(data), tmp_path) == [
        "images: 3, of which 1 without instances, left out (DATALOADER.FILTER_EMPTY_ANNOTATIONS)",
        "instances: 4",
        "  class     images  instances",
        "  disc           2          2",
        "  square         2          2",
        "annotations left out: 4",
        "  1: crowd (iscrowd 1), the first is annotation 4 (image 0.png)",
        "  2: an empty segmentation, the first is annotation 5 (image 0.png)",
        "  1: no segmentation, the first is annotation 6 (image 0.png)",
        "longer sides of the instances in the network's input, in pixels:",
        "  shorter side of the image   smallest      10 %    median      90 %   largest",
        "  96                                38        40        44        56        61",
        "2 instances have the box of another instance of their image, so no window can tell them apart and none learns "
        "them: annotation 3 (image 1.png), annotation 8 (image 1.png)",
    ]


def test_images_without_instances_are_kept_on_request(tmp_path: Path, data: Path) -> None:
    assert [len(CocoFolder(data, keep_empty=keep)) for keep in (False, True)] == [2, 3]
    assert (
        _table(CocoFolder(data, keep_empty=True), tmp_path)[0] == "images: 3, of which 1 without instances, trained on"
    )


def test_of_many_classes_the_rarest_are_listed(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    content = json.loads((folder / "instances.json").read_text())
    content["categories"] += [{"id": number, "name": f"class {number}"} for number in range(100, 300)]
    (folder / "instances.json").write_text(json.dumps(content))
    table = _table(CocoFolder(folder), tmp_path)
    assert "the 100 rarest of 202 classes:" in table
    assert sum(line.startswith("  class ") for line in table) == 1 + 100


def test_the_training_says_it_before_its_first_step(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_training_config(write_config(tmp_path / "config.yaml", MAX_ITER=1))
    train(config, Run(data, tmp_path / "out", workers=0))
    before_the_bar, _, _ = capsys.readouterr().err.partition("0/1")
    assert "annotations left out: 4" in before_the_bar
