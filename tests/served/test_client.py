"""The client and its command at a real server."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensormask_server import Predictor
from tensormask_server.client import Client, Refused

from reference.cases import Case
from tests.served.conftest import THRESHOLD, Server
from tests.waiting import PATIENCE


@pytest.fixture
def folder(case: Case, tmp_path: Path) -> Path:
    """Images in a folder with another in it, and a file that only looks like one."""
    (tmp_path / "images" / "more").mkdir(parents=True)
    Image.fromarray(case.image).save(tmp_path / "images" / "one.png")
    Image.fromarray(case.image[:90]).save(tmp_path / "images" / "more" / "two.PNG")
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "images"


def run(server: Server, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tensormask_server.client", str(folder), "--url", server.url]
    return subprocess.run(
        [*command, "--out", str(folder.parent / "out"), *options], capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("argument", ["path", "bytes", "array"])
def test_the_client_returns_the_predictors_detections(
    server: Server, predictor: Predictor, case: Case, folder: Path, argument: str
) -> None:
    path = folder / "one.png"
    image = {"path": path, "bytes": path.read_bytes(), "array": case.image}[argument]
    instances = Client(server.url).predict(image)
    [expected] = predictor([case.image], THRESHOLD)
    assert len(instances) == len(expected) > 3
    np.testing.assert_array_equal(instances.masks, expected.masks)
    np.testing.assert_allclose(instances.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(instances.boxes, expected.boxes, atol=0.02)
    assert instances.names == tuple(f"class {number}" for number in expected.classes)
    np.testing.assert_array_equal(instances.category_ids, expected.classes + 1)


def test_the_result_names_its_model_and_its_timing(server: Server, case: Case) -> None:
    instances = Client(server.url).predict(case.image)
    assert (instances.height, instances.width) == case.image.shape[:2]
    assert (instances.model, len(instances.weights_sha256)) == ("tiny", 64)
    assert set(instances.timing) == {"decode", "resize", "network", "masks", "encode"}


def test_the_error_for_a_file_over_the_servers_limit_says_so(server: Server) -> None:
    with pytest.raises(Refused, match=r"413 the image has 68\.0 MB, more than the server accepts"):
        Client(server.url).predict(b"\xff\xd8\xff" + bytes(68_000_000))


def test_any_letters_reach_the_server(server: Server, case: Case) -> None:
    with pytest.raises(Refused, match='classes has "k\\\\u00e4tzchen \\\\u732b"'):
        Client(server.url).predict(case.image, classes="kätzchen 猫")


def test_options_are_sent(server: Server, case: Case) -> None:
    instances = Client(server.url).predict(case.image, max_detections=3, classes=["class 4", 0], score_threshold=0.05)
    assert len(instances) <= 3
    assert set(instances.names) <= {"class 4", "class 0"}
    with pytest.raises(Refused, match="400 score_threshold is 2; expected score_threshold: a number from 0 to 1"):
        Client(server.url).predict(case.image, score_threshold=2)


def test_a_folder_gets_its_responses_and_a_broken_image_does_not_stop_it(server: Server, folder: Path) -> None:
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    result = run(server, folder)
    assert result.returncode == 1
    assert "broken.jpg: 400 " in result.stderr
    assert "phone.HEIC: 400 " in result.stderr
    assert "the image's file is damaged" in result.stderr
    assert "4/4" in result.stderr
    out = folder.parent / "out"
    assert json.loads((out / "one.png.json").read_text())["height"] == 150
    assert json.loads((out / "more" / "two.PNG.json").read_text())["height"] == 90
    files = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert files == [".asked.json", "one.png.json", "two.PNG.json"]
    assert result.stdout == f"2 responses in {out}: 2 written now, 0 there before\n"


def test_it_ends_with_how_many_responses_are_where_and_what_was_skipped(server: Server, folder: Path) -> None:
    (folder / "broken.jpg").unlink()
    Image.open(folder / "one.png").save(folder / "from-a-browser.jfif", "JPEG")
    (folder / "._one.png").write_bytes(b"of macOS")
    (folder / "more" / "notes.txt").touch()
    out = folder.parent / "out"
    skipped = f"skipped, as the name isn't an image's: {folder}/._one.png, {folder}/more/notes.txt\n"
    assert run(server, folder).stdout == f"3 responses in {out}: 3 written now, 0 there before\n{skipped}"
    (out / "one.png.json").unlink()
    for number in range(6):
        (folder / f"z{number}.txt").touch()
    again = run(server, folder)
    assert again.returncode == 0
    first, second = again.stdout.splitlines()
    assert first == f"3 responses in {out}: 1 written now, 2 there before"
    named = ", ".join(f"{folder}/{name}" for name in ("._one.png", "z0.txt", "z1.txt", "z2.txt", "z3.txt"))
    assert second == f"skipped, as the name isn't an image's: {named} and 3 more"


def test_the_commands_responses_name_their_images(server: Server, folder: Path) -> None:
    (folder / "broken.jpg").unlink()
    (folder / "one.png").rename(folder / "ü, 1.png")
    assert run(server, folder, "--format", "csv", "--pixel-size", "0.25 µm").returncode == 0
    tables = [pd.read_csv(path) for path in sorted((folder.parent / "out").rglob("*.csv"))]
    table = pd.concat(tables)
    assert set(table["file_name"]) == {"two.PNG", "ü, 1.png"}
    np.testing.assert_allclose(table["area_um2"], table["area"] / 16)


def test_the_client_has_every_option_of_a_response(server: Server, case: Case) -> None:
    client = Client(server.url)
    response = client.request(
        case.image, "polygons", image_id=3, file_name="a.png", tolerance=1.5, holes="keep", image_data="none"
    )
    content = json.loads(response.body)
    assert (content["imagePath"], content["imageData"]) == ("a.png", None)
    assert len(client.predict(case.image, image_id=3, pixel_size="2mm")) > 0
    assert zipfile.is_zipfile(io.BytesIO(client.request(case.image, "cutouts").body))
    with pytest.raises(Refused, match="tolerance is 21"):
        client.request(case.image, "polygons", tolerance=21)


def test_existing_responses_are_not_requested_again(server: Server, folder: Path) -> None:
    (folder / "broken.jpg").unlink()
    assert run(server, folder, "--format", "png").returncode == 0
    one = folder.parent / "out" / "one.png.png"
    assert Image.open(one).size == (200, 150)
    one.write_text("left alone")
    (folder.parent / "out" / "more" / "two.PNG.png").unlink()
    assert run(server, folder, "--format", "png").returncode == 0
    assert one.read_text() == "left alone"
    assert Image.open(folder.parent / "out" / "more" / "two.PNG.png").size == (200, 90)


def test_responses_to_other_options_are_not_mixed_with_these(server: Server, folder: Path) -> None:
    (folder / "broken.jpg").unlink()
    assert run(server, folder, "--score-threshold", "0.7").returncode == 0
    other = run(server, folder, "--score-threshold", "0.2")
    assert other.returncode == 2
    assert "holds results with another --score-threshold: 0.7, not 0.2; give the same" in other.stderr
    assert "another --format: coco, not png" in run(server, folder, "--format", "png").stderr
    assert run(server, folder, "--score-threshold", "0.7").returncode == 0
    (folder.parent / "out" / ".asked.json").write_text("{")
    assert ".asked.json is damaged" in run(server, folder).stderr


def test_the_folder_of_responses_can_not_be_a_file(server: Server, folder: Path) -> None:
    (folder.parent / "out").write_text("a file")
    assert "out is a file; expected a folder" in run(server, folder).stderr
