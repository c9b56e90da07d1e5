"""The demo's data set: the same for the same seed, and annotated as it looks. Draws with discs instead of emoji."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from demo import dataset
from demo.backgrounds import TRAINING_PHOTOGRAPHS, VALIDATION_PHOTOGRAPHS
from demo.composition import FEWEST_PIXELS, Emoji, compose
from demo.emoji import CATEGORIES, TRAINING_DESIGNS, VALIDATION_DESIGNS

ROOT = Path(__file__).resolve().parents[3]
SIZE = 128


def _drawings() -> dict[int, list[Emoji]]:
    """A ring, a disc and a bar, each a colour and half of its square."""
    y, x = np.mgrid[:256, :256] - 128
    radius = np.hypot(x, y)
    shapes = {2: (radius < 64) & (radius > 40), 3: radius < 64, 17: (abs(x) < 60) & (abs(y) < 20)}
    pixels = {}
    for category_id, shape in shapes.items():
        drawn = np.zeros((256, 256, 4), np.uint8)
        drawn[shape] = (40 * category_id % 256, 200, 30, 255)
        pixels[category_id] = [Emoji(drawn)]
    return pixels


@pytest.fixture
def photographs() -> list[Image.Image]:
    colours = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    return [Image.fromarray(colours).resize((300, 200), Image.Resampling.BICUBIC)]


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, photographs: list[Image.Image]) -> None:
    drawings = _drawings()
    monkeypatch.setattr(dataset, "_sources", lambda _split, _emoji_cache: (drawings, photographs))


def test_no_design_is_in_both_splits() -> None:
    assert not set(TRAINING_DESIGNS) & set(VALIDATION_DESIGNS)
    assert not set(TRAINING_PHOTOGRAPHS) & set(VALIDATION_PHOTOGRAPHS)


@pytest.mark.usefixtures("sources")
def test_a_image_depends_on_its_split_seed_and_number_alone() -> None:
    first, again = (dataset.composed("train", 7, 3, (SIZE,)) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.masks, again.masks)
    for other in (("val", 7, 3), ("train", 8, 3), ("train", 7, 4)):
        assert not np.array_equal(dataset.composed(*other, (SIZE,)).image, first.image)


def test_the_masks_do_not_overlap_and_are_not_too_small(photographs: list[Image.Image]) -> None:
    for seed in range(40):
        composition = compose(np.random.default_rng(seed), SIZE, _drawings(), photographs)
        assert composition.masks.sum(axis=0).max(initial=0) <= 1
        assert (composition.masks.sum(axis=(1, 2)) >= FEWEST_PIXELS).all()
        assert len(composition.masks) == len(composition.category_ids)


def test_the_masks_lie_where_the_emoji_were_painted(photographs: list[Image.Image]) -> None:
    # two colours for the same things: where the images differ is where the things are
    black, white = (
        {category_id: [_in_grey(each, grey) for each in emoji] for category_id, emoji in _drawings().items()}
        for grey in (0, 255)
    )
    for seed in range(10):
        dark, light = (compose(np.random.default_rng(seed), SIZE, emoji, photographs) for emoji in (black, white))
        np.testing.assert_array_equal(dark.masks, light.masks)
        painted = np.abs(dark.image.astype(int) - light.image).max(axis=2) > 90
        masks = dark.masks.any(axis=0)
        assert (painted & masks).sum() > 0.9 * max(painted.sum(), masks.sum())


@pytest.mark.usefixtures("sources")
def test_the_folder_holds_what_was_composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "ProcessPoolExecutor", _InThisProcess)
    dataset.write_dataset(tmp_path, "val", count=6, sizes=(64, 96), seed=2)
    content = json.loads((tmp_path / "instances.json").read_text())
    assert [category["name"] for category in content["categories"]] == [category.name for category in CATEGORIES]
    assert [annotation["id"] for annotation in content["annotations"]] == [
        number + 1 for number in range(len(content["annotations"]))
    ]
    for index, entry in enumerate(content["images"]):
        composition = dataset.composed("val", 2, index, (64, 96))
        written = np.asarray(Image.open(tmp_path / "images" / entry["file_name"]), int)
        assert np.abs(written - composition.image).mean() < 6  # JPEG, of noise too
        of_image = [each for each in content["annotations"] if each["image_id"] == entry["id"]]
        assert [each["category_id"] for each in of_image] == composition.category_ids
        for each, mask in zip(of_image, composition.masks, strict=True):
            np.testing.assert_array_equal(rle.decode(each["segmentation"]) > 0, mask)
            assert each["area"] == mask.sum()
            x, y, width, height = (int(value) for value in each["bbox"])
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert mask[y].any() and mask[y + height - 1].any() and mask[:, x].any() and mask[:, x + width - 1].any()


def _in_grey(emoji: Emoji, grey: int) -> Emoji:
    pixels = np.asarray(emoji.levels[0].convert("RGBA")).copy()
    pixels[..., :3] = grey
    return Emoji(pixels)


class _InThisProcess:
    """In the place of a pool of processes, which would not see what a test has replaced."""

    def __init__(self, _workers: int):
        pass

    def __enter__(self) -> "_InThisProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], **_options: int) -> Iterator[Any]:
        return map(function, items)


def test_what_only_draws_is_told_when_something_has_to_be_drawn(tmp_path: Path) -> None:
    program = "import runpy, sys; sys.modules['resvg_py'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    program = f"import sys; sys.argv[0] = {str(ROOT / 'demo' / 'dataset.py')!r}; {program}"
    options = ["--split", "val", "--count", "1", "--emoji", tmp_path / "emoji", "--out", tmp_path / "out"]
    command = [sys.executable, "-c", program, *map(str, options)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("dataset.py: ") and "resvg_py" in line and line.endswith("-e '.[train]' brings it")
