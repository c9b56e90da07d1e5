"""The responses of a run outlive it, however it ends."""

import json
import math
from pathlib import Path

import pytest
from tensormask_server.same_options import OptionsChanged
from tensormask_server.video.errors import VideoError
from tensormask_server.video.records import Records, records_file

SETTINGS = {"url": "http://127.0.0.1:8080/predictions/x", "every": 1}

RESPONSE = {"instances": [], "width": 8, "height": 6, "model": "x", "weights_sha256": "0"}
INSTANCE = {"bbox": [0, 0, 4, 4], "score": 0.5, "category_id": 1, "category_name": "x"}
OTHER_MASK = {"size": [9, 9], "counts": "0"}


def line_of(frame: float, pts: float, **changed: object) -> bytes:
    return json.dumps({"frame": frame, "pts": pts, "response": {**RESPONSE, **changed}}).encode()


def body(number: int) -> bytes:
    return json.dumps({**RESPONSE, "number": number}).encode()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video's path, beside which three frames have a response: 0, 1 and 4."""
    video = tmp_path / "video.mp4"
    with Records(video, SETTINGS) as records:
        for frame in (0, 1, 4):
            records.append(frame, 10 * frame, body(frame))
    return video


def test_another_run_continues(video: Path) -> None:
    with Records(video, SETTINGS) as records:
        assert (records.count, records.last_frame) == (3, 4)
        records.append(5, 50, body(5))
        assert [(each.frame, each.pts, each.response["number"]) for each in records] == [
            (0, 0, 0),
            (1, 10, 1),
            (4, 40, 4),
            (5, 50, 5),
        ]
        records.delete()
    assert not records_file(video).exists()


def test_a_run_that_was_killed_within_a_line_continues_before_it(video: Path) -> None:
    whole = records_file(video).read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(1, last + 1):
        records_file(video).write_bytes(whole[:-cut])
        with Records(video, SETTINGS) as records:
            assert (records.count, records.last_frame) == (2, 1)
            records.append(4, 40, body(4))
        assert records_file(video).read_bytes() == whole


def test_a_run_that_was_killed_at_its_first_line_begins_again(video: Path) -> None:
    records_file(video).write_bytes(records_file(video).read_bytes()[:10])
    with Records(video, SETTINGS) as records:
        assert records.count == 0
        records.append(0, 0, body(0))
        assert len(list(records)) == 1


def test_other_settings_are_named(video: Path) -> None:
    with pytest.raises(OptionsChanged, match="another --every: 1, not 2; give the same --every to continue"):
        Records(video, {**SETTINGS, "every": 2})


def test_two_runs_at_once_are_refused(video: Path) -> None:
    with Records(video, SETTINGS), pytest.raises(VideoError, match=r"another run is writing .*video.mp4.frames.jsonl"):
        Records(video, SETTINGS)


@pytest.mark.parametrize(
    "line",
    [
        b"text",
        b"[]",
        b'{"frame":1}',
        b'{"frame":[],"pts":0,"response":{}}',
        b"\xff" * 9,
        b'{"frame":5,"pts":50,"response":{}}',
        line_of(4, 50),  # the frame before has this index
        line_of(math.inf, 50),
        line_of(5, 1 << 63),
        line_of(5, 50, instances=None),
        line_of(5, 50, instances=[5]),
        line_of(5, 50, instances=[{**INSTANCE, "bbox": [1, 2]}]),
        line_of(5, 50, instances=[{**INSTANCE, "score": "high"}]),
        line_of(5, 50, instances=[{**INSTANCE, "segmentation": OTHER_MASK}]),
    ],
)
def test_somebody_elses_file_is_refused_and_kept(line: bytes, video: Path) -> None:
    content = records_file(video).read_bytes() + line + b"\n"
    records_file(video).write_bytes(content)
    with pytest.raises(VideoError, match="isn't what an earlier run has written; delete it to begin again"):
        Records(video, SETTINGS)
    assert records_file(video).read_bytes() == content


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    records_file(tmp_path / "video.mp4").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        Records(tmp_path / "video.mp4", SETTINGS)
    assert (tmp_path / "other").read_text() == "kept"
