"""Videos are read upright, at their own times and without damaged frames, and others are refused by name."""

import itertools
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tensormask_server.regular_files import RefusedFileError
from tensormask_server.video.errors import VideoError
from tensormask_server.video.frames import Damage, Frame
from tensormask_server.video.video_file import open_video

from tests.unit.video.videos import EVEN, UNEVEN, picture, write_video


def frames_of(path: Path, damage: Damage | None = None) -> list[Frame]:
    return list(open_video(path).read(damage or Damage()))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean()) if one.shape == other.shape else 255.0


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("in_x", "in_y"), [(False, False), (True, False), (False, True)])
def test_a_turned_or_mirrored_video_is_upright(degrees: int, in_x: bool, in_y: bool, tmp_path: Path) -> None:
    """PyAV says what it writes: a turn counter-clockwise, and then mirrors."""
    write_video(tmp_path / "video.mp4", [0, 40], turn=(degrees, in_x, in_y), pixel_format="yuv444p")
    shown = np.rot90(picture(0), degrees // 90)
    shown = shown[:: -1 if in_y else 1, :: -1 if in_x else 1]
    source = open_video(tmp_path / "video.mp4")
    frame, _ = source.read(Damage())
    assert (source.height, source.width) == frame.pixels.shape[:2] == shown.shape[:2]
    assert difference(frame.pixels, shown) < 3
    assert difference(frame.pixels, shown[::-1]) > 3


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.mov"])
def test_each_frame_has_its_own_time(name: str, tmp_path: Path) -> None:
    write_video(tmp_path / name, UNEVEN)
    source = open_video(tmp_path / name)
    frames = list(source.read(Damage()))
    np.testing.assert_allclose([source.seconds(frame.pts) for frame in frames], np.array(UNEVEN) / 1000, atol=1e-4)
    durations = [source.seconds(frame.duration) for frame in frames[:-1]]
    np.testing.assert_allclose(durations, np.diff(UNEVEN) / 1000, atol=1e-4)
    assert [frame.index for frame in frames] == list(range(len(UNEVEN)))


def test_a_broadcasts_time_begins_at_zero(tmp_path: Path) -> None:
    write_video(tmp_path / "video.ts", EVEN, start=50_000)
    source = open_video(tmp_path / "video.ts")
    assert source.start > 40
    assert [source.seconds(frame.pts) for frame in source.read(Damage())] == pytest.approx(
        [time / 1000 for time in EVEN], abs=1e-3
    )


@pytest.mark.parametrize(
    ("name", "codec"), [("video.mp4", "libx264"), ("video.mkv", "libx264"), ("video.avi", "mpeg4")]
)
def test_damaged_frames_are_counted_and_left_out(name: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_video(path, range(60), codec=codec, time_base=Fraction(1, 25))
    whole = {frame.pts: frame for frame in frames_of(path)}
    assert len(whole) == 60
    rng = np.random.default_rng(1)
    with av.open(str(path)) as video:
        packets = [(packet.pos, packet.size) for packet in video.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[20:40:10]:  # two of the frames
        begin = position + 8 + size // 4  # AVI has 8 bytes before a packet's own
        data[begin : position + size] = rng.integers(0, 256, position + size - begin, np.uint8).tobytes()
    path.write_bytes(data)
    damage = Damage()
    left = frames_of(path, damage)
    assert damage.frames
    assert all(time.endswith(" s") for time in damage.frames)
    assert 30 < len(left) < 60
    for frame in itertools.takewhile(lambda frame: frame.index < 15, left):  # before the damage all is as it was
        np.testing.assert_array_equal(frame.pixels, whole[frame.pts].pixels)
    assert len(left) + len(damage.frames) == left[-1].index + 1


def test_the_start_of_a_video_that_was_cut_short_is_read(tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    write_video(path, range(60), time_base=Fraction(1, 25))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    source = open_video(path)
    damage = Damage()
    last = list(source.read(damage))[-1]
    assert 10 < last.index < 59
    assert source.duration == pytest.approx(60 / 25, abs=0.05)  # which is how a run knows


def test_a_video_whose_index_comes_first_says_that_it_was_cut_short(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mkv", range(60), time_base=Fraction(1, 25))
    path = tmp_path / "video.mp4"
    with (
        av.open(str(tmp_path / "whole.mkv")) as whole,
        av.open(str(path), "w", options={"movflags": "faststart"}) as video,
    ):
        stream = video.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                video.mux(packet)
    damage = Damage()
    assert len(frames_of(path, damage)) == 60
    assert damage == Damage()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    left = frames_of(path, damage)
    assert 20 < len(left) < 60
    assert damage.cut_short == "its last frames aren't in the file"
    assert left[-1].duration == left[0].duration  # and not until the end that the video had


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("hello " * 100)
    write_video(tmp_path / "cut.mp4")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:1000])
    with av.open(str(tmp_path / "none.mkv"), "w") as video:
        stream = video.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        video.start_encoding()
    for name in ("empty.mp4", "text.mp4", "cut.mp4", "none.mkv"):
        with pytest.raises(
            VideoError, match=f"{name} isn't a video that FFmpeg can read; expected a video such as .mp4"
        ):
            open_video(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_video(tmp_path / "absent.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(RefusedFileError, match="it is a FIFO"):
        open_video(tmp_path / "pipe.mp4")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as video:
        stream = video.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", layout="mono")
        frame.sample_rate = 44_100
        video.mux(stream.encode(frame))
        video.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"sound.m4a has no video stream, only audio; expected a video"):
        open_video(tmp_path / "sound.m4a")


def test_a_video_whose_frames_are_all_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write_video(path, [0, 40])
    with av.open(str(path)) as video:
        packets = [(packet.pos, packet.size) for packet in video.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"video.mp4 has no frame that can be decoded; expected a video with frames"):
        open_video(path)


def test_the_picture_of_an_album_is_no_video(tmp_path: Path) -> None:
    """A song with its cover, as FFmpeg writes it in Matroska."""
    with av.open(str(tmp_path / "song.mkv"), "w") as video:
        stream = video.add_stream("aac", rate=44_100, layout="mono")
        cover = av.CodecContext.create("png", "w")
        cover.width = cover.height = 16
        cover.pix_fmt, cover.time_base = "rgb24", Fraction(1, 25)
        [packet] = cover.encode(av.VideoFrame.from_ndarray(picture(0, 16, 16).copy(), "rgb24"))
        video.add_attachment("cover.png", "image/png", bytes(packet))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", layout="mono")
        frame.sample_rate = 44_100
        video.mux(stream.encode(frame))
        video.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"song.mkv has no video stream"):
        open_video(tmp_path / "song.mkv")


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nvideo.ts\n#EXT-X-ENDLIST\n"
DESCRIPTION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"


@pytest.mark.attack(12, "videos that name other files, or streams of a network")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.mp4",
            "ffconcat version 1.0\nfile video.ts\n",
            "an FFmpeg script, which names other files; expected a video",
        ),
        ("a.ffconcat", "# videos\nfile video.ts\n", "isn't a video"),
        ("a.m3u8", PLAYLIST, "a playlist, which names other files; expected a video"),
        ("a.mp4", "\n" + PLAYLIST, "a playlist, which names other files; expected a video"),
        ("a.mp4", DESCRIPTION, "the description of a stream from a network"),
        (
            "a.mpd",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>video.ts</BaseURL></MPD>',
            "",
        ),
        ("a.avs", 'AVISource("video.ts")\n', "isn't a video"),
        ("a.txt", "text", "isn't a video"),
    ],
)
def test_a_file_that_names_others_is_refused(
    name: str, content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where FFmpeg would find the video
    write_video(Path("video.ts"))
    Path(name).write_text(content)
    with pytest.raises(VideoError, match=f"{name} .*{message}"):
        open_video(Path(name))


@pytest.mark.attack(12, "videos whose names FFmpeg takes for a URL or a pattern")
@pytest.mark.parametrize(
    "name",
    [
        "concat:video.ts|video.ts",
        "subfile,,start,0,end,0,,:video.ts",
        "data:,",
        "pipe:0",
        "-",
        "file:video.ts",
        "%03d.png",
    ],
)
def test_a_name_is_only_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video of this name is read, and not what the name means to FFmpeg."""
    monkeypatch.chdir(tmp_path)
    write_video(Path("video.ts"), times=range(0, 400, 40))
    for number in range(3):
        write_video(Path(f"{number:03}.png"), [0], codec="png", pixel_format="rgb24")
    with pytest.raises(FileNotFoundError):
        open_video(Path(name))
    write_video(Path("short.mkv"), times=range(0, 80, 40))
    Path("short.mkv").rename(name)
    assert len(frames_of(Path(name))) == 2


USUAL = ("mp4", "m4v", "mov", "3gp", "mkv", "avi", "ts", "mts", "mxf", "nut", "h264")
CODECS = {
    "webm": "libvpx",
    "wmv": "wmv2",
    "flv": "flv",
    "mpg": "mpeg2video",
    "gif": "gif",
    "apng": "apng",
    "rm": "rv20",
}
PIXEL_FORMATS = {"gif": "rgb8", "apng": "rgb24"}


@pytest.mark.parametrize("suffix", [*USUAL, *CODECS])
def test_videos_in_the_usual_containers_are_read(suffix: str, tmp_path: Path) -> None:
    """Each is one of the allowed formats."""
    path = tmp_path / f"video.{suffix}"
    codec, pixel_format = CODECS.get(suffix, "libx264"), PIXEL_FORMATS.get(suffix, "yuv420p")
    write_video(path, range(10), codec=codec, pixel_format=pixel_format, time_base=Fraction(1, 25))
    assert len(frames_of(path)) == 10
