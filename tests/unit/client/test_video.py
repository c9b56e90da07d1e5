"""The command for videos says what it needs. tests/served/test_videos.py runs it on a real server."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensormask_server.client.__main__ import main
from tensormask_server.video.records import records_file

from tests.unit.client.hostile_servers import http, sending, talking
from tests.unit.video.videos import write_video

NOBODY = "http://127.0.0.1:9/predictions/x"  # the port of discard, where no server is


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "video.mp4")
    return tmp_path / "video.mp4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("video.mp4 --out masks", "video.mp4 is a video, and --out is masks; expected a file that ends in .mp4 .m4v"),
        ("video.mp4 --out masks --track", "--track is for videos, and --out is masks; expected a file that ends in"),
        ("images --out masks --every 2", "--every is for videos, and --out is masks; expected a file that ends in"),
        ("video.mp4 video.mp4 --out out.mp4", "2 videos or folders are given; expected one, for --out out.mp4"),
        ("video.mp4 --out out.mp4 --format png", "--format is png, which videos don't have; expected no --format"),
        ("video.mp4 --out out.mp4 --rate 5", "--rate is for a folder of frames; video.mp4 isn't one"),
        ("video.mp4 --out out.mp4 --table t.xls", "--table is t.xls; expected a file that ends in .csv or .parquet"),
        ("video.mp4 --out video.mp4", "--out is the video itself, video.mp4; name another --out"),
        ("video.mp4 --out here.mp4", "here.mp4 exists; delete it, or name another --out"),
        ("video.mp4 --out out.mp4 --table t.csv", "t.csv exists; delete it, or name another --out"),
        ("text.mp4 --out out.mp4", "text.mp4 isn't a video that FFmpeg can read; expected a video such as .mp4"),
        ("absent.mp4 --out out.mp4", "absent.mp4 is neither a file nor a folder; expected a video"),
        ("images --out out.mp4", "frame 1 of images has 64×96 pixels, and earlier ones 128×96; expected one size"),
        ("none --out out.mp4", "none has no frames; expected images that end in"),
        ("video.mp4 --out out.mp4", "no server answers at http://127.0.0.1:9"),
        ("video.mp4 --out text.mp4/out.mp4", "[Errno 17] File exists: 'text.mp4'"),
        ("video.mp4 --out out.mp4 --table text.mp4/t.csv", "[Errno 17] File exists: 'text.mp4'"),
        ("script.mp4 --out out.mp4", "script.mp4 is an FFmpeg script, which names other files; expected a video"),
    ],
)
def test_a_first_mistake_gets_one_line_and_leaves_nothing(
    arguments: str, message: str, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = video.parent
    for name in ("text.mp4", "here.mp4", "t.csv"):
        (folder / name).write_text("text")
    (folder / "script.mp4").write_text("ffconcat version 1.0\nfile video.mp4\n")
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


def test_a_table_that_can_not_be_written_is_found_before_the_first_request(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(video), "--url", NOBODY, "--out", "out.mp4", "--table"]
    Path("folder.csv").mkdir()
    records_file(Path("out.mp4")).touch()  # of an earlier run, which has had its --table
    assert main([*words, "folder.csv"]) == 2
    assert "--table folder.csv is a folder; expected a file" in capsys.readouterr().err
    assert main([*words, "no/such/folder/t.csv"]) == 2  # it is made, as that of --out is
    assert "no server answers" in capsys.readouterr().err
    assert Path("no/such/folder").is_dir()
    assert main([*words, "/proc/t.csv"]) == 2
    assert (
        "--table /proc/t.csv can't be written: No such file or directory; name another one" in capsys.readouterr().err
    )


def test_a_response_for_an_image_of_another_size_is_not_kept(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"instances": [], "width": 96, "height": 128, "model": "x", "weights_sha256": "0"}).encode()
    with talking(sending(http(body))) as url:
        assert main([str(video), "--url", url, "--out", "out.mp4", "--at-once", "1"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "128×96 pixels for an image of 96×128; no frame has a response yet" in line
    assert not records_file(Path("out.mp4")).exists()


def test_a_video_that_can_not_be_finished_is_not_said_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    for number, size in enumerate([(64, 48), (64, 48), (48, 64)]):
        Image.new("RGB", size).save(tmp_path / "frames" / f"{number}.png")
    out = tmp_path / "out.mp4"
    body = json.dumps({"instances": [], "width": 64, "height": 48, "model": "x", "weights_sha256": "0"}).encode()
    with talking(sending(http(body))) as url:
        assert main([str(tmp_path / "frames"), "--url", url, "--out", str(out), "--at-once", "1"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "frame 2 of " in line
    assert line.endswith(f" has its response, in {records_file(out)}")


def test_a_missing_package_is_named(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tensormask_server.client.video.find_spec", lambda name: None if name == "trackers" else name)
    monkeypatch.setattr("tensormask_server.extras.find_spec", lambda name: None if name == "trackers" else name)
    assert main([str(video), "--out", "out.mp4", "--track"]) == 2
    expected = (
        "videos need packages of an extra: trackers not installed; pip install 'tensormask-segmentation-server[video]'"
    )
    assert expected in capsys.readouterr().err
    assert main([str(video), "--out", "out.mp4", "--url", NOBODY]) == 2  # without ids it isn't needed
    assert "no server answers" in capsys.readouterr().err
