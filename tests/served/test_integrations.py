"""Labelling tools with what the examples make for them: real packages, in environments of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from examples.moving_drawings import DRAWINGS, scene
from examples.pictures import DRAWN, RESULTS, WINDOW, run_elsewhere
from tests.pages import ROOT, links
from tests.served.conftest import Server
from tests.waiting import PATIENCE

EXAMPLES = ROOT / "examples"
MOST_BYTES = 100_000  # of a committed picture


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in (0, 5):
        Image.fromarray(scene(index, 12)[0]).save(folder / f"{index}.png")
    return folder


def run(*words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == status, result.stdout + result.stderr
    return result


def environment_with(folder: Path, *packages: str) -> str:
    """The Python of a new environment with packages from the index; a test is skipped where there is no index."""
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    result = subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"the package index doesn't give {', '.join(packages)}: {result.stderr[-300:]}")
    return python


def test_a_folder_gets_files_for_labelme_and_corrected_ones_are_kept(demo_server: Server, images: Path) -> None:
    (images / "0.json").write_text("corrected by hand")
    (images / "broken.png").write_text("no image")
    result = run(EXAMPLES / "client_to_labelme.py", demo_server.url, images, status=1)
    assert "1 files of annotations" in result.stdout
    assert "0.json is kept as it is" in result.stderr
    assert "broken.png: 400 " in result.stderr
    assert (images / "0.json").read_text() == "corrected by hand"
    content = json.loads((images / "5.json").read_text())
    assert (content["imagePath"], content["imageData"]) == ("5.png", None)
    assert {shape["label"] for shape in content["shapes"]} == {drawing.name for drawing in DRAWINGS}


def test_the_table_of_a_video_becomes_one_of_its_tracks(tmp_path: Path) -> None:
    rows = [
        {"frame": t, "time": t / 10, "track": track, "class": name, "score": 0.9, "area": 100}
        | {"box_x": speed * t, "box_y": 0, "box_width": 10, "box_height": 10}
        for t in range(11)
        for track, name, speed in ((1, "cat", 3), (2, "dog", 4), (None, "cup", 0))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "video.csv", index=False)
    pd.DataFrame(rows).to_parquet(tmp_path / "video.parquet")
    printed = run(EXAMPLES / "video_tracks.py", tmp_path / "video.csv").stdout
    assert run(EXAMPLES / "video_tracks.py", tmp_path / "video.parquet").stdout == printed
    cat, dog = (line.split() for line in printed.splitlines()[2:])
    assert (cat[1:3], cat[-2:]) == (["cat", "11"], ["30.0", "30.0"])
    assert (dog[1:3], dog[-2:]) == (["dog", "11"], ["40.0", "40.0"])


def test_the_committed_pictures_are_small_and_shown() -> None:
    shown = {(ROOT / "docs" / link).resolve() for link in links(ROOT / "docs" / "INTEGRATIONS.md")}
    pictures = set(RESULTS.glob("*.png"))
    assert len(pictures) >= 5
    assert pictures <= shown
    assert max(picture.stat().st_size for picture in pictures) < MOST_BYTES
    assert (RESULTS / "video_tracks.txt").read_text() in (ROOT / "docs" / "INTEGRATIONS.md").read_text()


@pytest.mark.extensive
def test_the_pictures_are_made_again(demo_server: Server, tmp_path: Path) -> None:
    run("-m", "examples.pictures", demo_server.url, "--results", tmp_path / "results")
    made = sorted((tmp_path / "results").iterdir())
    assert [path.name for path in made] == ["cvat.png", "video.png", "video_tracks.txt", "supervision.png"]
    for path in made:
        if path.suffix == ".png":
            one, other = (np.asarray(Image.open(each).convert("RGB"), int) for each in (path, RESULTS / path.name))
            assert np.abs(one - other).mean() < 5, path.name


COUNT = """
import json, sys
from labelme._label_file import LabelFile
file = LabelFile(sys.argv[1])
print(json.dumps([len(file.shapes), sorted({shape["label"] for shape in file.shapes}), len(file.image_data)]))
"""


@pytest.mark.extensive
def test_labelme_opens_what_the_example_writes(demo_server: Server, images: Path, tmp_path: Path) -> None:
    python = environment_with(tmp_path / "labelme", "labelme")
    run(EXAMPLES / "client_to_labelme.py", demo_server.url, images)
    for file in images.glob("*.json"):
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)}
        read = subprocess.run(
            [python, "-c", COUNT, file], env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        if "libGL" in read.stderr or "libEGL" in read.stderr:
            pytest.skip("Qt wants a library of the system that isn't here")
        shapes, labels, image_bytes = json.loads(read.stdout.splitlines()[-1])
        assert shapes == len(json.loads(file.read_text())["shapes"])
        assert labels == sorted({drawing.name for drawing in DRAWINGS})
        assert image_bytes > 0
    run_elsewhere(python, WINDOW, [images / "5.json", tmp_path / "window.png"], tmp_path)
    window = np.asarray(Image.open(tmp_path / "window.png").convert("RGB"))
    red = (window == (214, 40, 40)).all(axis=-1)  # of the apples
    assert red.sum() > 1000


ROUND_TRIP = """
import sys
from pathlib import Path
import fiftyone.utils.coco as coco
import numpy as np
from tensormask_server.client import Client
from examples.client_to_fiftyone import FIELD, samples
client = Client(sys.argv[1])
made = list(samples(client, Path(sys.argv[2]), 0.5))

def overlaps(path, metadata, detections):
    instances = client.predict(path, score_threshold=0.5)
    assert [each.label for each in detections.detections] == list(instances.names)
    for each, mask in zip(detections.detections, instances.masks):
        left, top = round(each.bounding_box[0] * metadata.width), round(each.bounding_box[1] * metadata.height)
        whole = np.zeros_like(mask)
        whole[top : top + each.mask.shape[0], left : left + each.mask.shape[1]] = each.mask
        yield (whole & mask).sum() / (whole | mask).sum()

with coco.COCODetectionDatasetExporter(export_dir=sys.argv[3], iscrowd="iscrowd") as exporter:
    for sample in made:
        exact = list(overlaps(sample.filepath, sample.metadata, sample[FIELD]))
        assert exact and set(exact) == {1.0}, exact
        exporter.export_sample(sample.filepath, sample[FIELD], metadata=sample.metadata)
folder = Path(sys.argv[3])
importer = coco.COCODetectionDatasetImporter(
    data_path=str(folder / "data"), labels_path=str(folder / "labels.json"), label_types="segmentations"
)
with importer:
    for imported in importer:  # its polygons, which are written without decimals, cost a pixel at the border
        assert min(overlaps(*imported)) > 0.9
"""


@pytest.mark.extensive
def test_fiftyone_draws_exports_and_imports_what_the_example_makes(
    demo_server: Server, images: Path, tmp_path: Path
) -> None:
    """What needs no database: FiftyOne's package of MongoDB downloads it from elsewhere, so it is left out."""
    folder = tmp_path / "fiftyone"
    python = environment_with(folder, "packaging")
    pip = [python, "-m", "pip", "install", "--quiet"]
    if subprocess.run([*pip, "--no-deps", "fiftyone"]).returncode:
        pytest.skip("the package index doesn't give fiftyone")
    needed = (
        "from importlib.metadata import requires; from packaging.requirements import Requirement; "
        "print('\\n'.join(each for each in requires('fiftyone') if not each.startswith('fiftyone-db') "
        "and not (Requirement(each).marker and 'extra' in str(Requirement(each).marker))))"
    )
    requirements = subprocess.run([python, "-c", needed], check=True, capture_output=True, text=True).stdout
    (folder / "requirements.txt").write_text(f"{requirements}\npycocotools\n")
    subprocess.run([*pip, "-r", folder / "requirements.txt"], check=True)
    run_elsewhere(python, ROUND_TRIP, [demo_server.url, images, tmp_path / "exported"], tmp_path)
    (images / "5.png").unlink()
    run_elsewhere(python, DRAWN, [demo_server.url, images, tmp_path / "drawn.png"], tmp_path)
    drawn = np.asarray(Image.open(tmp_path / "drawn.png").convert("RGB"), int)
    changed = np.abs(drawn - scene(0, 12)[0]).sum(axis=-1) > 30
    assert changed[scene(0, 12)[1].any(axis=0)].mean() > 0.5
