"""A video is written with the times, the sound, the shape and the colours of the one that it comes from."""

import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tensormask_server.video.errors import VideoError
from tensormask_server.video.frames import Damage
from tensormask_server.video.output import check_sound, write_video
from tensormask_server.video.video_file import open_video

from tests.unit.video import videos
from tests.unit.video.videos import EVEN, UNEVEN, content
from tests.waiting import PATIENCE

ROUNDING = 0.0011  # seconds: Matroska counts milliseconds


def copied(video: Path, name: str) -> Path:
    """Written again, as it was read."""
    source = open_video(video)
    out = video.with_name(name)
    check_sound(source, out)
    write_video(out, source, ((frame, frame.pixels) for frame in source.read(Damage())))
    return out


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("name", "out", "sound"),
    [
        ("video.mp4", "out.mp4", "aac"),
        ("video.mov", "out.mov", "pcm_s16le"),
        ("video.mkv", "out.mp4", "ac3"),
        ("video.mkv", "out.mkv", "flac"),
        ("video.mkv", "out.mp4", None),
    ],
)
def test_times_duration_and_sound_are_kept(
    name: str, out: str, sound: str | None, times: tuple[int, ...], tmp_path: Path
) -> None:
    videos.write_video(tmp_path / name, times, sound=sound)
    before, after = content(tmp_path / name), content(copied(tmp_path / name, out))
    np.testing.assert_allclose(after.times, before.times, atol=ROUNDING)
    assert len(after.times) == len(times)
    source = open_video(tmp_path / name)
    assert open_video(tmp_path / out).duration == pytest.approx(source.duration or after.seconds, abs=0.05)
    assert after.sound == before.sound
    assert bool(after.sound) == (sound is not None)


def test_a_turned_video_is_written_upright_with_its_pixels_shape(tmp_path: Path) -> None:
    videos.write_video(
        tmp_path / "video.mp4", turn=(90, False, False), sample_aspect_ratio=Fraction(4, 3), size=(128, 96)
    )
    after = content(copied(tmp_path / "video.mp4", "out.mp4"))
    assert (after.size, after.turn, after.pixel_shape) == ((96, 128), 0, Fraction(3, 4))


@pytest.mark.parametrize("size", [(127, 95), (128, 95), (24, 25)])
def test_any_size_is_kept(size: tuple[int, int], tmp_path: Path) -> None:
    videos.write_video(tmp_path / "video.mkv", size=size, codec="ffv1", pixel_format="bgr0")
    assert content(copied(tmp_path / "video.mkv", "out.mp4")).size == size


@pytest.mark.parametrize("space", [1, 5, 6])
def test_colours_are_kept(space: int, tmp_path: Path) -> None:
    """BT.709 and both BT.601: read as another one, orange would shift by 10 and more."""
    videos.write_video(tmp_path / "video.mkv", [0, 40], pixel_format="yuv444p", codec="ffv1", colorspace=space)
    [before, _] = open_video(tmp_path / "video.mkv").read(Damage())
    [after, _] = open_video(copied(tmp_path / "video.mkv", "out.mkv")).read(Damage())
    assert np.abs(before.pixels.astype(int) - videos.picture(0)).mean() < 1.5
    assert np.abs(before.pixels.astype(int) - after.pixels).mean() < 3


def test_sound_that_the_container_cannot_hold_is_refused(tmp_path: Path) -> None:
    videos.write_video(tmp_path / "video.wmv", range(30), codec="wmv2", time_base=Fraction(1, 25), sound="wmav2")
    with pytest.raises(VideoError, match=r"a .mp4 can't hold the video's sound, wmav2; expected an --out that ends in"):
        copied(tmp_path / "video.wmv", "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


COPY = """
import sys
from pathlib import Path
from tensormask_server.video.video_file import open_video
from tensormask_server.video.frames import Damage
from tensormask_server.video.output import write_video
source = open_video(Path(sys.argv[1]))
try:
    write_video(Path(sys.argv[2]), source, ((frame, frame.pixels) for frame in source.read(Damage())))
except OSError as error:
    print(type(error).__name__, error.errno)
"""


def test_a_video_that_does_not_fit_is_not_there(tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does, within FFmpeg."""
    videos.write_video(tmp_path / "video.mkv", range(60), time_base=Fraction(1, 25), codec="ffv1", sound="ac3")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    command = [sys.executable, "-c", COPY, str(tmp_path / "video.mkv"), str(tmp_path / "out.mp4")]
    result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=PATIENCE)
    assert result.stdout.split()[-1] == "27", result.stderr  # EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["video.mkv"]
