"""A source of frames: what a video and a folder of images have in common."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

UNSPECIFIED = 2  # FFmpeg's number for a colour space, transfer or primaries that a video doesn't name
BT709 = 1


@dataclass(frozen=True)
class Frame:
    """One frame, upright."""

    index: int  # of the source's frames, from 0; damaged frames have one, too
    pts: int  # when it is shown, in units of the source's time_base
    duration: int  # how long, in the same units
    pixels: np.ndarray  # uint8 (H, W, 3), RGB


@dataclass(frozen=True)
class Colours:
    """How a video's YUV is made of RGB, as FFmpeg numbers it."""

    space: int = BT709
    transfer: int = BT709
    primaries: int = BT709


@dataclass
class Damage:
    """What couldn't be read of a source, so far."""

    frames: list[str] = field(default_factory=list)  # where each damaged frame is: its time, or its file's name
    cut_short: str = ""  # FFmpeg's reason why the video ends early; "" if it has none


@dataclass(frozen=True)
class Source:
    """A video, or a folder of images in the order of their names."""

    path: Path
    width: int  # of the upright frames, in pixels
    height: int
    rate: Fraction  # frames a second, on average
    time_base: Fraction  # seconds
    start: Fraction  # seconds; the time in the video's file that is 0 here
    expected: int  # number of frames; an estimate where the video doesn't say it
    pixel_shape: Fraction  # width of a pixel by its height, upright
    colours: Colours
    fingerprint: str  # another video or folder has another one
    duration: float  # of the frames, in seconds, as the source says; 0: it doesn't
    has_sound: bool
    read: Callable[[Damage], Iterator[Frame]]  # all frames that aren't damaged, from the start; fills the Damage

    def seconds(self, frame_pts: int) -> float:
        """The time of a frame, in seconds."""
        return float(frame_pts * self.time_base)
