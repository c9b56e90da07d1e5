"""Makes a video of drawings that the demo's network knows, which move on lines of their own, with their masks.

python examples/moving_drawings.py video.mp4
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from PIL import Image, ImageDraw

SIZE = 384  # pixels of a frame's sides
BACKGROUND = (120, 160, 120)
RATE = 12  # frames a second
TONE = 440  # Hz, of the video's sound
SOUND_RATE = 44_100  # samples a second


def _apple(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((10, 22, 90, 98), fill=(214, 40, 40))
    draw.line((50, 30, 56, 6), fill=(110, 70, 30), width=6)
    draw.ellipse((55, 4, 85, 20), fill=(90, 170, 60))


def _traffic_light(draw: ImageDraw.ImageDraw) -> None:
    draw.rounded_rectangle((28, 2, 72, 98), 10, fill=(50, 55, 65))
    for top, colour in ((6, (230, 50, 50)), (36, (250, 210, 60)), (66, (80, 200, 90))):
        draw.ellipse((36, top, 64, top + 28), fill=colour)


def _ball(draw: ImageDraw.ImageDraw) -> None:
    dark = (60, 40, 30)
    draw.ellipse((3, 3, 97, 97), fill=(235, 130, 45))
    draw.line((50, 3, 50, 97), fill=dark, width=4)
    draw.line((3, 50, 97, 50), fill=dark, width=4)
    draw.arc((-50, 3, 30, 97), -60, 60, fill=dark, width=4)
    draw.arc((70, 3, 150, 97), 120, 240, fill=dark, width=4)


@dataclass(frozen=True)
class Moving:
    """A drawing and its way. Points are x, y of its upper left corner, in pixels."""

    name: str  # of its class
    draw: Callable[[ImageDraw.ImageDraw], None]  # on 100×100 pixels
    side: int  # pixels
    start: tuple[int, int]
    end: tuple[int, int]

    def mask_and_colours(self) -> tuple[np.ndarray, Image.Image]:
        """bool (side, side), and the drawing, which is transparent elsewhere."""
        image = Image.new("RGBA", (100, 100))
        self.draw(ImageDraw.Draw(image))
        image = image.resize((self.side, self.side))
        return np.asarray(image)[..., 3] >= 128, image

    def corner(self, progress: float) -> tuple[int, int]:
        """Where it is, from 0 at its start to 1 at its end."""
        (x0, y0), (x1, y1) = self.start, self.end
        return round(x0 + (x1 - x0) * progress), round(y0 + (y1 - y0) * progress)


# two of a class pass each other closely without touching, and the light crosses neither
DRAWINGS = (
    Moving("apple", _apple, 90, (10, 12), (284, 12)),
    Moving("apple", _apple, 90, (284, 110), (10, 110)),
    Moving("sports ball", _ball, 80, (20, 290), (210, 210)),
    Moving("traffic light", _traffic_light, 100, (250, 274), (284, 230)),
)


def scene(index: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one frame.

    Args:
        index: of the frame, from 0.
        count: of the video's frames.

    Returns:
        uint8 (SIZE, SIZE, 3), RGB, and the masks of DRAWINGS, bool (4, SIZE, SIZE).
    """
    image = Image.new("RGB", (SIZE, SIZE), BACKGROUND)
    masks = np.zeros((len(DRAWINGS), SIZE, SIZE), bool)
    for mask, drawing in zip(masks, DRAWINGS, strict=True):
        x, y = drawing.corner(index / max(1, count - 1))
        inside, colours = drawing.mask_and_colours()
        image.paste(colours, (x, y), colours)
        mask[y : y + drawing.side, x : x + drawing.side] = inside
    return np.array(image), masks


def write_video(path: Path, count: int, turn: int = 0, codec: str = "libx264", pixel_format: str = "yuv420p") -> None:
    """Writes the video, with a tone.

    Args:
        path: its suffix names the container.
        count: of frames.
        turn: 90, 180 or 270: the video is stored turned clockwise by these degrees, and players turn it back.
        codec, pixel_format: FFmpeg's names.
    """
    with av.open(path, "w") as video:
        options = {"crf": "12"} if codec == "libx264" else {}
        stream = cast(av.VideoStream, video.add_stream(codec, rate=RATE, options=options))
        stream.width = stream.height = SIZE
        stream.pix_fmt = pixel_format
        if turn:
            stream.set_display_rotation(turn)
        sound = video.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for index in range(count):
            pixels = np.ascontiguousarray(np.rot90(scene(index, count)[0], -turn // 90))
            video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        video.mux(stream.encode(None))
        samples = np.arange(count * SOUND_RATE // RATE)
        frame = av.AudioFrame.from_ndarray(
            (0.2 * np.sin(2 * np.pi * TONE / SOUND_RATE * samples)).astype(np.float32)[None], "fltp", layout="mono"
        )
        frame.sample_rate, frame.time_base, frame.pts = SOUND_RATE, Fraction(1, SOUND_RATE), 0
        video.mux(sound.encode(frame))
        video.mux(sound.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a video of moving drawings that the demo's network knows.")
    parser.add_argument("video", type=Path, help="to write, such as video.mp4")
    parser.add_argument("--frames", type=int, default=36, help="(default: %(default)s)")
    parser.add_argument("--turn", type=int, default=0, choices=(0, 90, 180, 270), help="store it turned, as phones do")
    parsed = parser.parse_args()
    write_video(parsed.video, parsed.frames, parsed.turn)
    print(f"{parsed.frames} frames of {len(DRAWINGS)} drawings in {parsed.video}")


if __name__ == "__main__":
    main()
