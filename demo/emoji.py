"""The instances in the demo's images: colour emoji of nine designs, drawn once from SVG and kept as pixels."""

import io
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RENDERED_SIZE = 256  # pixels, of the square that holds a whole emoji
SCENE_COVERAGE = 0.9  # an emoji that fills its square shows a scene (a boat, its sea and sky), not one object


@dataclass(frozen=True)
class Design:
    """One family of emoji: an npm package of iconify. Its version is pinned, so that a seed gives the same images."""

    package: str
    version: str
    licence: str  # of the package, by SPDX; checked against the source's

    @property
    def name(self) -> str:
        return self.package.removeprefix("@iconify-json/")

    def drawn_in(self, cache: Path) -> Path:
        """The file of this design's drawings in a cache."""
        return cache / f"{self.name}-{self.version}.npz"


TRAINING_DESIGNS = (
    Design("@iconify-json/noto", "1.2.9", "Apache-2.0"),  # Google
    Design("@iconify-json/noto-v1", "1.2.5", "Apache-2.0"),  # Google's older drawings
    Design("@iconify-json/fluent-emoji", "1.2.7", "MIT"),  # Microsoft, shaded
    Design("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT"),  # Microsoft, flat
    Design("@iconify-json/fxemoji", "1.2.2", "Apache-2.0"),  # Mozilla
    Design("@iconify-json/emojione", "1.2.3", "CC-BY-4.0"),  # EmojiOne 2
    Design("@iconify-json/emojione-v1", "1.2.3", "CC-BY-SA-4.0"),  # EmojiOne 1
    Design("@iconify-json/openmoji", "1.2.29", "CC-BY-SA-4.0"),  # HfG Schwäbisch Gmünd
)
# not in the training data, so that the network is measured on drawings that it doesn't know
VALIDATION_DESIGNS = (Design("@iconify-json/twemoji", "1.2.5", "CC-BY-4.0"),)  # Twitter


@dataclass(frozen=True)
class Category:
    """A class with COCO's id and name, and the emoji that show it. A design may have only some of them."""

    id: int
    name: str
    icons: tuple[str, ...]  # Unicode's names, and fxemoji's own names


CATEGORIES = (
    Category(2, "bicycle", ("bicycle",)),
    Category(3, "car", ("automobile", "oncoming-automobile", "sport-utility-vehicle", "oncomingautomobile")),
    Category(5, "airplane", ("airplane", "small-airplane")),
    Category(6, "bus", ("bus", "oncoming-bus", "oncomingbus")),
    Category(9, "boat", ("sailboat", "speedboat")),
    Category(10, "traffic light", ("vertical-traffic-light", "verticaltrafficlight")),
    Category(16, "bird", ("bird", "dove", "eagle", "doveofpeace")),
    Category(17, "cat", ("cat", "cat-face", "catside")),
    Category(18, "dog", ("dog", "dog-face", "poodle", "dogside")),
    Category(19, "horse", ("horse", "horse-face", "horseface")),
    Category(22, "elephant", ("elephant",)),
    Category(28, "umbrella", ("umbrella",)),
    Category(37, "sports ball", ("soccer-ball", "basketball", "soccerball")),
    Category(47, "cup", ("hot-beverage", "teacup-without-handle", "hotbeverage", "teacupwithouthandle")),
    Category(52, "banana", ("banana",)),
    Category(53, "apple", ("red-apple", "green-apple", "redapple", "greenapple")),
    Category(59, "pizza", ("pizza", "sliceofpizza")),
    Category(60, "donut", ("doughnut",)),
    Category(61, "cake", ("birthday-cake", "shortcake", "birthdaycake")),
    Category(85, "clock", ("alarm-clock", "mantelpiece-clock", "alarmclock", "manltepiececlock")),
)


def load_emoji(designs: tuple[Design, ...], cache: Path) -> dict[int, list[np.ndarray]]:
    """Loads the emoji of each category. The first call draws them, and later ones read them from the cache.

    Args:
        designs: the families to load.
        cache: a folder for the drawn emoji.

    Returns:
        From a category's id to its emoji, in the order of the designs: uint8 (256, 256, 4), RGBA, not premultiplied.
    """
    emoji: dict[int, list[np.ndarray]] = {category.id: [] for category in CATEGORIES}
    for design in designs:
        drawn = design.drawn_in(cache)
        if not drawn.exists():
            cache.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(drawn, allow_pickle=False, **_draw(design))
        with np.load(drawn) as arrays:
            for category in CATEGORIES:
                emoji[category.id] += [arrays[icon] for icon in category.icons if icon in arrays]
    return emoji


def _draw(design: Design) -> dict[str, np.ndarray]:
    import resvg_py  # only here: drawings that are in the cache don't need it

    icons = _fetch(design)
    drawn = {}
    for name in dict.fromkeys(name for category in CATEGORIES for name in category.icons):
        icon = icons["icons"].get(icons.get("aliases", {}).get(name, {}).get("parent", name))
        if icon is not None:
            pixels = _pixels(resvg_py.svg_to_bytes(svg_string=_svg(icon, icons)))
            if (pixels[..., 3] >= 128).mean() < SCENE_COVERAGE:
                drawn[name] = pixels
    return drawn


def _fetch(design: Design) -> dict[str, Any]:
    """iconify's JSON of a design: the bodies of its SVGs."""
    with tempfile.TemporaryDirectory() as folder:
        package = f"{design.package}@{design.version}"
        command = ["npm", "pack", "--silent", "--pack-destination", folder, package]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extract("package/icons.json", folder, filter="data")
        content: dict[str, Any] = json.loads((Path(folder) / "package" / "icons.json").read_text(encoding="utf-8"))
        return content


def _svg(icon: dict[str, Any], icons: dict[str, Any]) -> str:
    left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{RENDERED_SIZE}" height="{RENDERED_SIZE}">{icon["body"]}</svg>'
    )


def _pixels(png: bytes) -> np.ndarray:
    """uint8 (H, W, 4), RGBA."""
    return np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
