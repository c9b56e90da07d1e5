"""Writes a video: its frames as H.264 at their own times, with the sound of the video that they come from."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import write_whole
from tensormask_server.video.errors import VideoError
from tensormask_server.video.frames import UNSPECIFIED, Frame, Source
from tensormask_server.video.sound import Sound

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}  # by suffix: FFmpeg's name
# without B-frames, frames are stored in the order of their times
ENCODER = {"crf": "18", "preset": "veryfast", "bf": "0"}
MPEG_RANGE = 1  # FFmpeg's number for Y from 16 to 235


def check_sound(source: Source, path: Path) -> None:
    """Checks that a video to write can hold the source's sound.

    Args:
        source: of the sound.
        path: of the video; ends in one of CONTAINERS.

    Raises:
        VideoError: it can't.
    """
    with Sound(source) as sound, io.BytesIO() as nothing:
        _opened(nothing, path, source, sound)


def write_video(path: Path, source: Source, pictures: Iterable[tuple[Frame, np.ndarray]]) -> None:
    """Writes a video completely or not at all.

    Args:
        path: ends in one of CONTAINERS.
        source: whose times, colours and sound the video gets. The sound is copied and not encoded again.
        pictures: each frame in order, with the pixels to show in its place: uint8 (H, W, 3), RGB.

    Raises:
        OSError: it can't be written.
        VideoError: the container can't hold the sound, or FFmpeg fails otherwise.
    """
    write_whole(path, lambda file: _write(file, path, source, pictures))


def _write(file: BinaryIO, path: Path, source: Source, pictures: Iterable[tuple[Frame, np.ndarray]]) -> None:
    import av

    durations: dict[int, int] = {}  # by pts, of the frames in the encoder
    with Sound(source) as sound:
        output, stream, copies = _opened(file, path, source, sound)

        def mux_video(frame: "VideoFrame | None") -> None:
            for packet in stream.encode(frame):
                packet.duration = durations.pop(packet.pts or 0, 0)
                output.mux(packet)

        def mux_sound(packets: Iterable["Packet[Stream]"]) -> None:
            for packet in packets:
                packet.stream = copies[packet.stream.index]
                output.mux(packet)

        try:
            for frame, pixels in pictures:
                mux_sound(sound.until(frame.pts * source.time_base))
                durations[frame.pts] = frame.duration
                mux_video(_encodable(frame, pixels, source, stream))
            mux_video(None)
            mux_sound(sound.until(None))
            output.close()
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise VideoError(f"{printable(path)} can't be written: {one_line(error.strerror)}") from error


def _opened(
    file: BinaryIO, path: Path, source: Source, sound: Sound
) -> tuple["OutputContainer", "VideoStream", dict[int, "AudioStream"]]:
    """A video with its header written, its stream of frames, and its streams of sound by their index in the source."""
    import av

    output = av.open(file, "w", format=CONTAINERS[path.suffix.lower()])
    stream = output.add_stream("libx264", rate=source.rate, options=ENCODER)
    stream.width, stream.height = source.width, source.height
    is_even = source.width % 2 == source.height % 2 == 0
    stream.pix_fmt = "yuv420p" if is_even else "yuv444p"  # which has colours for half as many rows and columns
    context = stream.codec_context
    stream.time_base = context.time_base = source.time_base
    context.sample_aspect_ratio = source.pixel_shape
    context.colorspace, context.color_trc = source.colours.space, source.colours.transfer
    context.color_primaries, context.color_range = source.colours.primaries, MPEG_RANGE
    copies = {}
    try:
        for each in sound.streams:
            copies[each.index] = output.add_stream_from_template(each)
        output.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        if not sound.streams:
            raise
        codecs = ", ".join(sorted({each.codec_context.name for each in sound.streams}))
        others = " or ".join(suffix for suffix in CONTAINERS if suffix != path.suffix.lower())
        expected = f"expected an --out that ends in {others}, or a video whose sound is AAC or MP3"
        raise VideoError(f"a {path.suffix} can't hold the video's sound, {codecs}; {expected}") from error
    return output, stream, copies


def _encodable(frame: Frame, pixels: np.ndarray, source: Source, stream: "VideoStream") -> "VideoFrame":
    from av import VideoFrame

    space = source.colours.space
    picture = VideoFrame.from_ndarray(pixels, "rgb24").reformat(
        format=stream.pix_fmt, dst_colorspace=None if space == UNSPECIFIED else space, dst_color_range=MPEG_RANGE
    )
    picture.pts, picture.time_base = frame.pts, source.time_base
    return picture
