"""Reads a video: its frames upright, with their times, without the damaged ones."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from tensormask_server.printable import one_line, printable
from tensormask_server.video.errors import VideoError
from tensormask_server.video.frames import Colours, Damage, Frame, Source
from tensormask_server.video.opening import opened_video
from tensormask_server.video.upright import display_matrix, is_quarter_turn, upright_pixels

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FINGERPRINT_BYTES = 1 << 20  # at each end of a video
USUAL_RATE = Fraction(25)  # where a video doesn't say how many frames a second it has


def open_video(path: Path) -> Source:
    """Opens a video and reads its first frame.

    Args:
        path: of a video in any codec that FFmpeg reads, and in one of the formats of `opening`.

    Raises:
        VideoError: it isn't a video, it has no video stream, or none of its frames can be decoded.
        OSError: it can't be read.
    """
    with opened_video(path) as container:
        stream = _video_stream(container, path)
        damage = Damage()
        first = next(_decoded(container, stream, damage), None)
        if first is None:
            raise VideoError(f"{printable(path)} has no frame that can be decoded; expected a video with frames")
        _, frame = first
        rate = stream.average_rate or stream.guessed_rate or USUAL_RATE
        seconds = _seconds(container, stream)
        is_turned = is_quarter_turn(display_matrix(frame))
        shape = stream.sample_aspect_ratio or Fraction(1)
        return Source(
            path=path,
            width=frame.height if is_turned else frame.width,
            height=frame.width if is_turned else frame.height,
            rate=Fraction(rate),
            time_base=Fraction(stream.time_base or 1 / Fraction(rate)),
            start=_start(container),
            expected=stream.frames or round(seconds * float(rate)),
            pixel_shape=1 / shape if is_turned else shape,
            colours=_colours(frame),
            fingerprint=_fingerprint(path),
            duration=seconds,
            has_sound=bool(container.streams.audio),
            read=lambda damage: _frames(path, damage),
        )


def _frames(path: Path, damage: Damage) -> Iterator[Frame]:
    before: Frame | None = None
    for frame in _timed(path, damage):
        if before is not None:
            yield replace(before, duration=frame.pts - before.pts)
        before = frame
    if before is not None:
        yield before


def _timed(path: Path, damage: Damage) -> Iterator[Frame]:
    """Each frame, with the time that is left until the video's end as its duration."""
    with opened_video(path) as container:
        stream = _video_stream(container, path)
        time_base = stream.time_base or 1 / USUAL_RATE
        shift = round(_start(container) / time_base)
        step = max(1, round(1 / ((stream.average_rate or USUAL_RATE) * time_base)))
        end = (stream.start_time or 0) - shift + stream.duration if stream.duration else 0
        if _is_cut_short(stream, path):
            damage.cut_short, end = "its last frames aren't in the file", 0
        following: int | None = None  # the least time of the next frame; those of damaged videos go back
        for index, frame in _decoded(container, stream, damage):
            pts = (following or 0) if frame.pts is None else frame.pts - shift
            if following is not None:
                pts = max(pts, following)
            left = end - pts if end > pts else frame.duration or step
            following = pts + (step if frame.pts is None else 1)
            yield Frame(index, pts, left, upright_pixels(frame))


def _is_cut_short(stream: "VideoStream", path: Path) -> bool:
    """Whether the video's index has frames that lie beyond the end of its file."""
    size = path.stat().st_size
    return any(entry.pos + entry.size > size for entry in stream.index_entries)


def _decoded(container: "InputContainer", stream: "VideoStream", damage: Damage) -> Iterator[tuple[int, "VideoFrame"]]:
    """Each frame with its index. Frames that can't be decoded, or only in part, are noted as damage."""
    import av

    index = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            damage.cut_short = one_line(error.strerror)
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damage.frames.append(_time_of(packet.pts, stream))
            index += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                damage.frames.append(_time_of(frame.pts, stream))
            else:
                yield index, frame
            index += 1


def _time_of(pts: int | None, stream: "VideoStream") -> str:
    return "an unknown time" if pts is None else f"{float(pts * (stream.time_base or 0)):.2f} s"


def _video_stream(container: "InputContainer", path: Path) -> "VideoStream":
    """The first video stream that isn't the picture of an album."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "SLICE"  # with threads for frames, the damage of one is told at another
            stream.codec_context.options = {"err_detect": "explode"}  # a damaged frame isn't shown as grey blocks
            return stream
    streams = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream"
    raise VideoError(f"{printable(path)} has no video stream, only {streams}; expected a video")


def _start(container: "InputContainer") -> Fraction:
    """The time of a start in seconds: broadcasts begin at any time. 0 if it is negative, as that of some sound is."""
    import av

    return Fraction(max(0, container.start_time or 0), av.time_base)


def _colours(frame: "VideoFrame") -> Colours:
    """The colours of a video; those of RGB are written as BT.709."""
    if frame.format.is_rgb:
        return Colours()
    return Colours(frame.colorspace, frame.color_trc, frame.color_primaries)


def _seconds(container: "InputContainer", stream: "VideoStream") -> float:
    """How long the frames of a stream are, as the video says; 0 if it doesn't. Its sound can be longer."""
    import av

    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    noted = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # Matroska's
    if noted:
        hours, minutes, seconds = map(float, noted.groups())
        return 3600 * hours + 60 * minutes + seconds
    return 0 if container.streams.audio else float(Fraction(container.duration or 0, av.time_base))


def _fingerprint(path: Path) -> str:
    """Of a video's size, its start and its end."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(FINGERPRINT_BYTES))
        file.seek(max(0, size - FINGERPRINT_BYTES))
        digest.update(file.read(FINGERPRINT_BYTES))
    return digest.hexdigest()
