"""The backgrounds of the emoji: photographs, textures and drawn patterns without objects of the demo's classes."""

from collections.abc import Callable

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFilter

# scikit-image's photographs, without those of a cat, a cup, a horse, a clock or something like a bicycle
TRAINING_PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "coins",
    "grass",
    "immunohistochemistry",
    "moon",
    "page",
    "retina",
    "text",
)
VALIDATION_PHOTOGRAPHS = ("gravel", "hubble_deep_field", "rocket")


def load_photographs(names: tuple[str, ...]) -> list[Image.Image]:
    """Photographs that come with scikit-image, RGB, by their function's name there."""
    return [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]


def background(rng: np.random.Generator, size: int, photographs: list[Image.Image]) -> np.ndarray:
    """A random background, float32 (size, size, 3), 0 … 255."""
    painters: tuple[tuple[float, Callable[[], np.ndarray]], ...] = (  # with their probabilities
        (0.45, lambda: _photograph(rng, size, photographs)),
        (0.12, lambda: np.broadcast_to(_colour(rng), (size, size, 3))),
        (0.08, lambda: _gradient(rng, size)),
        (0.13, lambda: _noise(rng, size)),
        (0.07, lambda: _stripes(rng, size)),
        (0.15, lambda: _shapes(rng, size)),
    )
    chosen = rng.choice(len(painters), p=[probability for probability, _ in painters])
    return painters[chosen][1]().astype(np.float32)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Any colour, or near white as a page is; float64 (3,)."""
    return rng.uniform(0, 255, 3) if rng.random() < 0.6 else 255 - rng.exponential(8, 3).clip(max=60)


def _photograph(rng: np.random.Generator, size: int, photographs: list[Image.Image]) -> np.ndarray:
    photograph = photographs[rng.integers(len(photographs))]
    side = min(photograph.size) * rng.uniform(0.3, 1)
    left, top = (rng.uniform(0, length - side) for length in photograph.size)
    box = (left, top, left + side, top + side)
    reducing_gap = 2.0  # shrinks by whole factors first, which is good enough here and several times faster
    pixels = np.asarray(photograph.resize((size, size), Image.Resampling.BILINEAR, box, reducing_gap), np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    mean = pixels.mean()
    developed: np.ndarray = (pixels - mean) * rng.uniform(0.5, 1.2) + mean * rng.uniform(0.6, 1.3, 3)
    return developed.clip(0, 255)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    line = np.linspace(-0.5, 0.5, size)
    along = (line * np.cos(angle) + line[:, None] * np.sin(angle)) / np.sqrt(2) + 0.5
    return _mixed(rng, along)


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Clouds: random grids of several finenesses, smoothly enlarged."""
    clouds = np.zeros((size, size), np.float32)
    for cells in 2 ** np.arange(1, rng.integers(3, 7)):
        grid = rng.normal(0, 1 / cells**0.7, (cells + 1, cells + 1)).astype(np.float32)
        clouds += np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))
    return _mixed(rng, (clouds - clouds.min()) / (np.ptp(clouds) + 1e-6))


def _mixed(rng: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Two colours in shares of (H, W), 0 … 1."""
    first, second = _colour(rng), _colour(rng)
    mixed: np.ndarray = shares[..., None] * first + (1 - shares[..., None]) * second
    return mixed


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Stripes, or squares where two sets of them cross."""
    line = np.arange(size)
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 60)
    on = np.sin((line * np.cos(angle) + line[:, None] * np.sin(angle)) * (2 * np.pi / period)) > rng.uniform(-0.7, 0.7)
    if rng.random() < 0.5:
        on ^= np.sin((line[:, None] * np.cos(angle) - line * np.sin(angle)) * (2 * np.pi / period)) > 0
    return np.where(on[..., None], _colour(rng), _colour(rng))


def _shapes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Shapes of no class: ellipses, polygons and lines."""
    image = Image.new("RGB", (size, size), _fill(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 25)):
        centre, radius = rng.uniform(0, size, 2), rng.uniform(4, size / 3)
        points = [tuple(point) for point in centre + rng.uniform(-radius, radius, (rng.integers(2, 7), 2))]
        if len(points) == 2:
            (x0, x1), (y0, y1) = (sorted(side) for side in zip(*points, strict=True))
            draw.ellipse((x0, y0, x1, y1), fill=_fill(rng))
        elif rng.random() < 0.3:
            draw.line(points, fill=_fill(rng), width=int(rng.integers(1, 8)))
        else:
            draw.polygon(points, fill=_fill(rng))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0, 3)))
    return np.asarray(image)


def _fill(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(value) for value in _colour(rng))
