"""The command for films says what it needs. tests/served/test_films.py runs it on a real server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensormask_server.client.__main__ import main

from tests.unit.video.films import write_film

NOBODY = "http://127.0.0.1:9/predictions/x"  # the port of discard, where no server is


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "film.mp4")
    return tmp_path / "film.mp4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("film.mp4 --out masks", "film.mp4 is a film, and --out is masks; expected a file that ends in .mp4 .m4v"),
        ("film.mp4 --out masks --track", "--track is for films, and --out is masks; expected a file that ends in"),
        ("images --out masks --every 2", "--every is for films, and --out is masks; expected a file that ends in"),
        ("film.mp4 film.mp4 --out out.mp4", "2 films or folders are given; expected one, for --out out.mp4"),
        ("film.mp4 --out out.mp4 --format png", "--format is png, which films don't have; expected no --format"),
        ("film.mp4 --out out.mp4 --rate 5", "--rate is for a folder of frames; film.mp4 isn't one"),
        ("film.mp4 --out out.mp4 --table t.xls", "--table is t.xls; expected a file that ends in .csv or .parquet"),
        ("film.mp4 --out film.mp4", "--out is the film itself, film.mp4; name another --out"),
        ("film.mp4 --out here.mp4", "here.mp4 exists; delete it, or name another --out"),
        ("film.mp4 --out out.mp4 --table t.csv", "t.csv exists; delete it, or name another --out"),
        ("text.mp4 --out out.mp4", "text.mp4 isn't a film that FFmpeg can read; expected a film such as .mp4"),
        ("absent.mp4 --out out.mp4", "absent.mp4 is neither a file nor a folder; expected a film"),
        ("images --out out.mp4", "frame 1 of images has 64×96 pixels, and earlier ones 128×96; expected one size"),
        ("none --out out.mp4", "none has no frames; expected images that end in"),
        ("film.mp4 --out out.mp4", "no server answers at http://127.0.0.1:9"),
        ("film.mp4 --out text.mp4/out.mp4", "[Errno 17] File exists: 'text.mp4'"),
    ],
)
def test_a_first_mistake_gets_one_line_and_leaves_nothing(
    arguments: str, message: str, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = film.parent
    for name in ("text.mp4", "here.mp4", "t.csv"):
        (folder / name).write_text("text")
    for name in ("images", "none"):
        (folder / name).mkdir()
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(folder / "images" / "0.png")
    Image.fromarray(np.zeros((96, 64, 3), np.uint8)).save(folder / "images" / "1.png")
    before = sorted(folder.rglob("*"))
    assert main([*arguments.split(), "--url", NOBODY]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("python -m tensormask_server.client: ")
    assert message in line
    assert sorted(folder.rglob("*")) == before


def test_a_missing_package_is_named(
    film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tensormask_server.client.film.find_spec", lambda name: None if name == "trackers" else name)
    monkeypatch.setattr("tensormask_server.extras.find_spec", lambda name: None if name == "trackers" else name)
    assert main([str(film), "--out", "out.mp4", "--track"]) == 2
    expected = (
        "films need packages of an extra: trackers not installed; pip install 'tensormask-segmentation-server[video]'"
    )
    assert expected in capsys.readouterr().err
    assert main([str(film), "--out", "out.mp4", "--url", NOBODY]) == 2  # without ids it isn't needed
    assert "no server answers" in capsys.readouterr().err
