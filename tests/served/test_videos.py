"""Videos through a real server with the demo's network: real files in, and what PyAV and pandas read of the results."""

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools import mask as rle
from tensormask_server.client import Client, Response
from tensormask_server.client.folder import Requests
from tensormask_server.client.video import VideoStopped, add_video_options, write_video
from tensormask_server.video.records import records_file

from examples import moving_drawings
from examples.moving_drawings import DRAWINGS, RATE, SIZE, scene
from tests.served.conftest import COVERAGE, DEMO_NETWORK, Server, launched
from tests.unit.video.videos import content
from tests.waiting import PATIENCE, wait_for

FRAMES = 10


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    moving_drawings.write_video(path, FRAMES)
    return path


def command(server: Server, *words: object) -> list[str]:
    return [sys.executable, "-m", "tensormask_server.client", *map(str, words), "--url", server.url]


def run(server: Server, *words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(command(server, *words), capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == status, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def masked(demo_server: Server, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video with masks, beside its table."""
    out = tmp_path_factory.mktemp("masked") / "video.masks.mp4"
    printed = run(demo_server, video, "--out", out, "--track").stdout
    assert printed.startswith(f"{out}: {FRAMES} frames; {out.with_suffix('.csv')}: {FRAMES * len(DRAWINGS)} rows of 4")
    assert not records_file(out).exists()
    return out


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def drawings_of(table: pd.DataFrame, count: int = FRAMES) -> dict[int, set[int]]:
    """From each id to the drawings that have had it. Each row's mask is one drawing's."""
    drawn: dict[int, set[int]] = {}
    for row in table.rename(columns={"class": "name"}).itertuples():
        mask = rle.decode(json.loads(row.segmentation)).astype(bool)
        overlaps = [iou(mask, known) for known in scene(row.frame, count)[1]]
        best = int(np.argmax(overlaps))
        assert overlaps[best] > 0.8, (row.frame, row.track, overlaps)
        assert DRAWINGS[best].name == row.name
        drawn.setdefault(int(row.track), set()).add(best)
    return drawn


def test_each_drawing_keeps_its_id_through_the_video(masked: Path) -> None:
    table = pd.read_csv(masked.with_suffix(".csv"))
    assert table.groupby("frame").size().tolist() == [len(DRAWINGS)] * FRAMES
    assert sorted(map(sorted, drawings_of(table).values())) == [[0], [1], [2], [3]]
    np.testing.assert_allclose(table["time"], table["frame"] / RATE, atol=1e-6)


def test_frames_duration_sound_and_orientation_are_the_videos(video: Path, masked: Path) -> None:
    before, after = content(video), content(masked)
    assert (len(after.times), after.size, after.turn) == (FRAMES, (SIZE, SIZE), 0)
    assert after.times == before.times
    assert after.seconds == before.seconds
    assert after.sound == before.sound != b""


def test_masks_are_drawn_where_the_drawings_are(video: Path, masked: Path) -> None:
    with av.open(str(video)) as one, av.open(str(masked)) as other:
        frames = zip(one.decode(video=0), other.decode(video=0), strict=True)
        for index, (before, after) in enumerate(frames):
            changed = (
                np.abs(before.to_ndarray(format="rgb24").astype(int) - after.to_ndarray(format="rgb24")).sum(-1) > 40
            )
            for mask in scene(index, FRAMES)[1]:
                assert changed[mask].mean() > 0.6
            assert changed.mean() < 0.4


def test_a_run_that_was_killed_continues_and_gives_the_same_files(
    demo_server: Server, video: Path, masked: Path, tmp_path: Path
) -> None:
    out = tmp_path / masked.name
    words = command(demo_server, video, "--out", out, "--track", "--at-once", 2)
    for kept in (3, 6):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_for(
                lambda: records_file(out).exists() and records_file(out).read_bytes().count(b"\n") > kept,  # noqa: B023
                f"{kept} responses",
                unless=process.poll,
            )
            process.kill()
        assert not out.exists()
    run(demo_server, video, "--out", out, "--every", 2, status=2)  # other options are refused, and nothing is lost
    run(demo_server, video, "--out", out, "--track")
    assert out.read_bytes() == masked.read_bytes()
    assert out.with_suffix(".csv").read_bytes() == masked.with_suffix(".csv").read_bytes()
    assert not records_file(out).exists()


def test_a_folder_of_frames_is_as_a_video_without_loss(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(4):
        Image.fromarray(scene(index, 4)[0]).save(tmp_path / "frames" / f"{index + 8}.png")  # 8, 9, 10, 11
    moving_drawings.write_video(tmp_path / "video.mkv", 4, codec="ffv1", pixel_format="bgr0")
    run(demo_server, tmp_path / "frames", "--out", tmp_path / "a.mp4", "--rate", RATE, "--track")
    run(demo_server, tmp_path / "video.mkv", "--out", tmp_path / "b.mp4", "--table", tmp_path / "b.parquet", "--track")
    one, other = pd.read_csv(tmp_path / "a.csv"), pd.read_parquet(tmp_path / "b.parquet")
    assert len(one) == 16
    np.testing.assert_allclose(one["time"], other["time"], atol=0.001)
    pd.testing.assert_frame_equal(one.drop(columns="time"), other.drop(columns="time"))
    folder = content(tmp_path / "a.mp4")
    assert (len(folder.times), folder.seconds) == (4, pytest.approx(4 / RATE))


def test_a_turned_video_is_seen_upright_and_one_of_n_frames_is_requested(demo_server: Server, tmp_path: Path) -> None:
    moving_drawings.write_video(tmp_path / "phone.mov", 13, turn=90)
    printed = run(demo_server, tmp_path / "phone.mov", "--out", tmp_path / "out.mov", "--every", 2, "--track").stdout
    assert "13 frames, 7 of them requested" in printed
    table = pd.read_csv(tmp_path / "out.csv")
    assert sorted(table["frame"].unique()) == [*range(0, 13, 2)]
    assert sorted(map(sorted, drawings_of(table, 13).values())) == [[0], [1], [2], [3]]
    before, after = content(tmp_path / "phone.mov"), content(tmp_path / "out.mov")
    assert (before.turn, after.turn) == (90, 0)
    assert (after.times, after.seconds) == (before.times, before.seconds)


def test_damaged_frames_are_left_out_and_reported(demo_server: Server, video: Path, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with av.open(str(video)) as whole:
        packets = [(packet.pos, packet.size) for packet in whole.demux(video=0) if packet.size]
    data = bytearray(video.read_bytes())
    position, size = packets[-1]
    data[position + 4 : position + size] = b"\xff" * (size - 4)
    path.write_bytes(data)
    result = run(demo_server, path, "--out", tmp_path / "out.mp4", "--every", 4, status=1)
    assert "1 damaged frame is left out: at " in result.stderr
    assert len(content(tmp_path / "out.mp4").times) == FRAMES - 1


def test_a_server_that_goes_away_in_the_middle_costs_no_response(video: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_video_options(parser)
    parsed = parser.parse_args([])
    parsed.images, parsed.out, parsed.format, parsed.at_once = [video], tmp_path / "out.mp4", "coco", 1
    with launched(tmp_path, *DEMO_NETWORK, "--name", "demo", PATH="") as server:

        @dataclass(frozen=True)
        class Ending(Client):
            """Ends the server after two responses."""

            answered: list[Response] = field(default_factory=list)

            def request(self, *arguments: Any, **options: Any) -> Response:
                if len(self.answered) == 2 and server.process is not None:
                    server.process.terminate()
                    server.process.wait(timeout=PATIENCE)
                self.answered.append(super().request(*arguments, **options))
                return self.answered[-1]

        with pytest.raises(
            VideoStopped, match="2 frames have their responses, and the same command goes on from there"
        ):
            write_video(parsed, Requests(Ending(server.url, waits=(0.1, 0.1)), "coco", {}))
    assert records_file(parsed.out).exists()
    assert not parsed.out.exists()


def test_a_full_disk_stops_the_run_and_keeps_the_responses(demo_server: Server, video: Path, tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does."""
    words = command(demo_server, video, "--out", tmp_path / "out.mp4", "--every", 5)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    # coverage would write a file of its own at the end
    environment = {name: value for name, value in os.environ.items() if name not in COVERAGE}
    result = subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert result.returncode == 2
    assert "have their responses, and the same command goes on from there" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.mp4").exists()
    run(demo_server, video, "--out", tmp_path / "out.mp4", "--every", 5)
    assert len(content(tmp_path / "out.mp4").times) == FRAMES


def test_videos_need_no_torch(demo_server: Server, video: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from tensormask_server.client.__main__ import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["--url", demo_server.url, video, "--out", tmp_path / "out.mkv", "--track", "--every", FRAMES]
    result = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
