"""Videos of a moving square, made by PyAV, and what PyAV reads of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)
EVEN = range(0, 1000, 40)  # times of 25 frames a second
UNEVEN = (0, 10, 50, 170, 180, 400, 410, 420, 600, 750)
SAMPLES = 1152  # of one frame of sound


def picture(index: int, width: int = 128, height: int = 96) -> np.ndarray:
    """uint8 (height, width, 3): a square, further right on each picture, in the upper half."""
    pixels = np.full((height, width, 3), (40, 90, 160), np.uint8)
    left = 5 * index % (width - 20)
    pixels[height // 8 : height // 8 + 20, left : left + 20] = (230, 60, 30)
    return pixels


def write_video(
    path: Path,
    times: Sequence[int] = EVEN,
    *,
    size: tuple[int, int] = (128, 96),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    time_base: Fraction = MILLISECOND,
    turn: tuple[int, bool, bool] | None = None,
    sound: str | None = None,
    start: int = 0,
    **context: Any,
) -> None:
    """Writes a video.

    Args:
        times: of its frames, in units of time_base.
        size: width and height of the stored frames.
        turn: of `set_display_rotation`: degrees, and whether it is mirrored in x and y.
        sound: a codec's name.
        start: of frames and sound, in units of time_base.
        context: values of the encoder.
    """
    with av.open(str(path), "w") as video:
        options = {"bf": "0"} if codec == "libx264" else {}  # as phones' videos are; others' durations are unreliable
        stream: Any = video.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = time_base
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if turn is not None:
            stream.set_display_rotation(*turn)
        audio: Any = video.add_stream(sound, rate=44_100, layout="stereo") if sound else None
        if sound == "wmav2":
            audio.bit_rate = 128_000
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), "rgb24").reformat(
                format=pixel_format, dst_colorspace=context.get("colorspace")
            )
            frame.pts, frame.time_base = time + start, time_base
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))
        if audio:
            for index in range(int(max(times) * time_base * 44_100) // SAMPLES):
                wave = np.sin(np.arange(SAMPLES) * 0.05 + index).repeat(2) * 9000
                heard = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], "s16", layout="stereo")
                heard.sample_rate, heard.time_base = 44_100, Fraction(1, 44_100)
                heard.pts = index * SAMPLES + int(start * time_base * 44_100)
                video.mux(audio.encode(heard))
            video.mux(audio.encode(None))


@dataclass(frozen=True)
class Content:
    """What PyAV reads of a video."""

    times: list[float]  # of the frames, in seconds
    seconds: float  # how long the stream of frames is, or the file where the stream doesn't say it
    sound: bytes  # all packets of sound, still encoded
    size: tuple[int, int]  # width and height of the stored frames
    turn: int  # degrees by which a player turns them
    pixel_shape: Fraction | None


def content(path: Path) -> Content:
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        seconds = stream.duration * stream.time_base if stream.duration else Fraction(video.duration, av.time_base)
        shape = stream.sample_aspect_ratio
        frames = list(video.decode(stream))
    with av.open(str(path)) as video:
        sound = b"".join(bytes(packet) for packet in video.demux(video.streams.audio)) if video.streams.audio else b""
    first = frames[0]
    times = [float(frame.pts * frame.time_base) for frame in frames]
    return Content(times, float(seconds), sound, (first.width, first.height), first.rotation, shape)
