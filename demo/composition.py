"""Composes an image: emoji of random scale, rotation, flip, colour and blur, which overlap on a background."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from demo.backgrounds import background

SMALLEST = 12.0  # pixels, of the longer side of the smallest emoji
FEWEST_PIXELS = 16  # an instance with fewer visible pixels is removed
LEAST_VISIBLE = 0.25  # an instance of which a smaller share is visible is removed
# the probability of each arrangement; the last three are deliberately hard
ARRANGEMENTS = {"ordinary": 0.6, "crowded": 0.15, "tiny": 0.1, "cut": 0.15}


@dataclass(frozen=True)
class Composition:
    """An image and its instances. Later instances are in front of earlier ones."""

    image: np.ndarray  # uint8 (H, W, 3), RGB
    category_ids: list[int]
    masks: np.ndarray  # bool (N, H, W), the visible pixels of each


class Emoji:
    """One drawing in decreasing sizes, so that shrinking it is fast and without aliasing."""

    def __init__(self, pixels: np.ndarray):
        """
        Args:
            pixels: uint8 (S, S, 4), RGBA. Only the box around its drawn pixels is kept.
        """
        emoji = Image.fromarray(pixels)
        emoji = emoji.crop(emoji.getchannel("A").getbbox()).convert("RGBa")  # premultiplied: no dark seams
        self.levels = [emoji]
        while max(self.levels[-1].size) > 2 * SMALLEST:
            self.levels.append(self.levels[-1].reduce(2))

    def placed(self, matrix: np.ndarray, longer_side: float) -> np.ndarray:
        """Scales and transforms the drawing.

        Args:
            matrix: (2, 2), applied after scaling.
            longer_side: in pixels, before the matrix is applied.

        Returns:
            float32 (h, w, 4), RGB premultiplied by A, 0 … 255, as large as needed.
        """
        shrinking = max(self.levels[0].size) / longer_side
        level = self.levels[min(max(int(np.log2(max(shrinking, 1))), 0), len(self.levels) - 1)]
        matrix = matrix * (longer_side / max(level.size))
        width, height = (int(extent) + 3 for extent in np.abs(matrix) @ level.size)
        inverse = np.linalg.inv(matrix)
        offset = np.array(level.size) / 2 - inverse @ (width / 2, height / 2)
        coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
        placed = level.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        return np.asarray(placed, np.float32)


def compose(
    rng: np.random.Generator, size: int, emoji: dict[int, list[Emoji]], photographs: list[Image.Image]
) -> Composition:
    """Draws one image. It is the same for the same state of the generator.

    Args:
        rng: the random generator.
        size: of the square image, in pixels.
        emoji: the drawings by category id.
        photographs: backgrounds are cut from them.
    """
    image = background(rng, size, photographs)
    ids, patches, corners = [], [], []
    for longer_side, centre in _placements(rng, size):
        category_id = int(rng.choice(list(emoji)))
        drawing = emoji[category_id][rng.integers(len(emoji[category_id]))]
        patch = _recoloured(rng, drawing.placed(_matrix(rng), longer_side))
        corner = np.round(centre - np.array(patch.shape[1::-1]) / 2).astype(int)
        patch, corner = _cut(_blurred(rng, patch, longer_side), corner, size)
        if patch.size:
            ids.append(category_id)
            patches.append(patch)
            corners.append(corner)
    kept = _well_visible(patches, corners, size)
    for i in kept:
        _paste(image, patches[i], corners[i])
    owners = _owners([patches[i] for i in kept], [corners[i] for i in kept], size)
    masks = owners == np.arange(len(kept))[:, None, None]
    return Composition(_photographed(rng, image), [ids[i] for i in kept], masks)


def _placements(rng: np.random.Generator, size: int) -> list[tuple[float, np.ndarray]]:
    """Longer sides and centres (x, y), in pixels. The first ones, which are behind the others, tend to be larger."""
    arrangement = rng.choice(list(ARRANGEMENTS), p=list(ARRANGEMENTS.values()))
    count, largest = {
        "ordinary": (rng.integers(2, 8), 0.9 * size),
        "crowded": (rng.integers(12, 26), 0.3 * size),
        "tiny": (rng.integers(6, 20), 32.0),
        "cut": (rng.integers(2, 7), 0.9 * size),
    }[str(arrangement)]
    sides = np.exp(rng.uniform(np.log(SMALLEST), np.log(largest), count))
    order = np.argsort(-sides * rng.uniform(0.7, 1.4, count))
    sides = sides[order]
    placements = []
    for side in sides:
        inset = 0.0 if arrangement == "cut" and rng.random() < 0.7 else min(side, size) / 2
        centre = rng.uniform(inset, size - inset, 2)
        if inset == 0:  # on the border
            centre[rng.integers(2)] = rng.choice([0, size]) + rng.uniform(-0.25, 0.25) * side
        placements.append((float(side), centre))
    return placements


def _matrix(rng: np.random.Generator) -> np.ndarray:
    """A rotation (mostly a small one), flip, stretch and shear, (2, 2)."""
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else rng.normal(0, 0.2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.normal(0, 0.1))
    flip = rng.choice([-1, 1])
    matrix: np.ndarray = rotation @ np.array([[flip * stretch, rng.normal(0, 0.08)], [0, 1 / stretch]])
    return matrix


def _recoloured(rng: np.random.Generator, patch: np.ndarray) -> np.ndarray:
    """Turns the hue, and changes saturation, brightness and contrast."""
    hue = rng.uniform(-np.pi, np.pi) if rng.random() < 0.15 else rng.normal(0, 0.25)
    # a rotation about the grey axis, towards which the saturation shrinks
    grey = np.full((3, 3), 1 / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn: np.ndarray = grey + rng.uniform(0.5, 1.2) * (np.cos(hue) * (np.eye(3) - grey) + np.sin(hue) * across)
    gains = turn.T * np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.06, 3))
    alpha = patch[..., 3:]
    colours = patch[..., :3] @ gains.astype(np.float32) + alpha * np.float32(rng.normal(0, 0.07))
    return np.concatenate((np.minimum(colours.clip(0), alpha), alpha), axis=2)


def _blurred(rng: np.random.Generator, patch: np.ndarray, longer_side: float) -> np.ndarray:
    if rng.random() < 0.85:
        return patch
    radius = rng.uniform(0.5, 0.02 * longer_side + 1)
    blurred = Image.fromarray(patch.astype(np.uint8)).filter(ImageFilter.BoxBlur(radius))
    return np.asarray(blurred, np.float32)


def _cut(patch: np.ndarray, corner: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the patch that is on the image, and its corner."""
    x, y = corner
    cut = patch[max(-y, 0) : max(size - y, 0), max(-x, 0) : max(size - x, 0)]
    return cut, np.maximum(corner, 0)


def _owners(patches: list[np.ndarray], corners: list[np.ndarray], size: int) -> np.ndarray:
    """The index of the front-most patch at each pixel, or −1; int16 (size, size)."""
    owners = np.full((size, size), -1, np.int16)
    for i, (patch, (x, y)) in enumerate(zip(patches, corners, strict=True)):
        owners[y : y + patch.shape[0], x : x + patch.shape[1]][patch[..., 3] >= 128] = i
    return owners


def _well_visible(patches: list[np.ndarray], corners: list[np.ndarray], size: int) -> list[int]:
    """The numbers of the patches that are visible enough. Removing the others never hides pixels of these."""
    visible = np.bincount(_owners(patches, corners, size).ravel() + 1, minlength=len(patches) + 1)[1:]
    whole = [np.count_nonzero(patch[..., 3] >= 128) for patch in patches]
    return [i for i, area in enumerate(whole) if visible[i] >= max(FEWEST_PIXELS, LEAST_VISIBLE * area)]


def _paste(image: np.ndarray, patch: np.ndarray, corner: np.ndarray) -> None:
    x, y = corner
    under = image[y : y + patch.shape[0], x : x + patch.shape[1]]
    under *= 1 - patch[..., 3:] / 255
    under += patch[..., :3]


def _photographed(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Changes the exposure and adds noise; uint8 (size, size, 3)."""
    if rng.random() < 0.5:
        image = image * rng.uniform(0.75, 1.2)
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(1, 8), (*image.shape[:2], 1)).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)
