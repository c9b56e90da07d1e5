"""Segmentations are checked before pycocotools sees them, and what outlines nothing is counted by reason."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as rle

from tests.unit.training.small_training import SIZE, write_config, write_data
from training import segmentations
from training.annotations import DataError
from training.coco_folder import CocoFolder
from training.run_lengths import RunLengthError, checked_runs
from training.segmentations import LONGEST_OUTLINE, SegmentationError, checked_segmentation, encoded_segmentation

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}:{ROOT / 'handler'}", "PATH": "/usr/bin:/bin"}
HEIGHT, WIDTH = 20, 30
SQUARE = [2, 2, 20, 2, 20, 12, 2, 12]
MASKS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1))


def _annotated(folder: Path, segmentations_: list[Any], **others: Any) -> Path:
    """A data set in which all annotations have these segmentations by turns."""
    data = write_data(folder / "data")
    content = json.loads((data / "instances.json").read_text())
    for i, annotation in enumerate(content["annotations"]):
        annotation |= {"segmentation": segmentations_[i % len(segmentations_)], **others}
    (data / "instances.json").write_text(json.dumps(content))
    return data


@given(mask=MASKS)
def test_runs_are_read_as_pycocotools_reads_them(mask: np.ndarray) -> None:
    encoded = rle.encode(np.asfortranarray(mask))
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=2))
    runs = np.diff(changes, prepend=0).tolist()
    text = encoded["counts"].decode()
    for counts in (
        encoded["counts"],
        text,
        runs,
        [float(run) for run in runs],
        [str(run) for run in runs],
        str(text.encode()),
    ):
        checked, on = checked_runs(counts, *mask.shape)
        assert on == mask.sum()
        segmentation = checked_segmentation({"size": list(mask.shape), "counts": counts}, *mask.shape)
        np.testing.assert_array_equal(rle.decode(encoded_segmentation(segmentation, *mask.shape)), mask)
        assert checked in (text, runs)


TEXTS = st.text(max_size=30), st.text("0123456789:;<=>?@ABCPQRSTU`abcno", max_size=30), st.binary(max_size=30)


@given(counts=st.one_of(*TEXTS))
def test_no_text_reaches_pycocotools_that_is_no_mask_of_the_image(counts: str | bytes) -> None:
    try:
        segmentation = checked_segmentation({"size": [HEIGHT, WIDTH], "counts": counts}, HEIGHT, WIDTH)
    except SegmentationError as error:
        assert "RLE" in str(error)
        return
    mask = rle.decode(encoded_segmentation(segmentation, HEIGHT, WIDTH))
    assert mask.shape == (HEIGHT, WIDTH)
    assert rle.encode(mask)["size"] == [HEIGHT, WIDTH]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([10, 5], "the runs of its RLE have 15 pixels together; expected the 600"),
        ([10, 50000, 70000], "have 120010 pixels together"),
        ([10, 600, -10], "the run at place 2 of its RLE is -10; expected 0 or more"),
        ([10, 590.5], "the run at place 1 of its RLE is 590.5; expected pixels"),
        ([float("nan"), 600], "the run at place 0 of its RLE is nan"),
        ([10**30, 600], "expected the 600"),
        ([], "have 0 pixels together"),
        ("", "have 0 pixels together"),
        ("zzzz", "has the character 'z' at place 0 of 4"),
        ("0ÿ0", "has the character 'ÿ' at place 1 of 3"),
        ("00\N{SNOWMAN}", "has the character '☃' at place 2 of 3"),
        ("00o", "ends within a number"),
        ("oooooooo0", "has a number of 9 characters"),
        ("O", "the run at place 0 of its RLE is -1"),
    ],
)
def test_damaged_runs_are_named(counts: Any, said: str) -> None:
    with pytest.raises(RunLengthError, match=said):
        checked_runs(counts, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (1e7, "10000000"),
        (-31, "-31"),
        (61, "61"),
    ],
)
def test_coordinates_that_are_none_of_the_image_are_named(number: float, shown: str) -> None:
    polygon = [2, 2, 20, 2, number, 12, 2, 12]
    with pytest.raises(SegmentationError, match=f"x is {shown} at point 2 of its polygon, on an image of 30×20"):
        checked_segmentation([SQUARE, polygon], HEIGHT, WIDTH)


def test_a_little_outside_is_no_fault() -> None:
    polygon = [-30, -20, 60, -20, 60, 40, -30, 40]
    checked = checked_segmentation([polygon], HEIGHT, WIDTH)
    assert rle.area(encoded_segmentation(checked, HEIGHT, WIDTH)) == HEIGHT * WIDTH


def test_an_endless_outline_is_refused() -> None:
    polygon = [0, 0, WIDTH, HEIGHT] * (LONGEST_OUTLINE // WIDTH)
    with pytest.raises(SegmentationError, match=r"its outline is \d+ pixels long; supported: 2000000"):
        checked_segmentation([polygon], HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("segmentation", "others", "reason"),
    [
        ([SQUARE], {"iscrowd": 1}, segmentations.CROWD),
        (None, {}, segmentations.NO_SEGMENTATION),
        (None, {"bbox": [1, 1, 5, 5]}, segmentations.BOX_ONLY),
        ([], {}, segmentations.EMPTY),
        ([[]], {}, segmentations.EMPTY),
        ([[2, 2, 20, 20]], {}, segmentations.TOO_FEW_POINTS),
        ([[2, 2, 20, 20, 5, 9, 3]], {}, segmentations.ODD),
        ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], {}, segmentations.NORMALISED),
        ([[-20, 2, -2, 2, -2, 12]], {}, segmentations.OUTSIDE),
        ([[97, 2, 120, 2, 120, 12]], {}, segmentations.OUTSIDE),
        ([[2, 97, 20, 97, 20, 120]], {}, segmentations.OUTSIDE),
        ([[5, 5, 50, 5, 30, 5]], {}, segmentations.NO_PIXEL),
        ([[5.1, 5.1, 5.3, 5.1, 5.3, 5.3]], {}, segmentations.NO_PIXEL),
        ({"size": [SIZE, SIZE], "counts": [SIZE * SIZE]}, {}, segmentations.NO_PIXEL),
    ],
)
def test_what_outlines_nothing_is_counted_by_reason(
    tmp_path: Path, segmentation: Any, others: dict[str, Any], reason: str
) -> None:
    data = _annotated(tmp_path, [segmentation], **others)
    with pytest.raises(DataError) as error:
        CocoFolder(data)
    assert f"no instance to train on: all of its 3 annotations are left out. 3: {reason}, the first is " in str(
        error.value
    )
    assert "annotation 1 (image 0.png)" in str(error.value)


def test_a_polygon_that_crosses_itself_is_an_instance(tmp_path: Path) -> None:
    """The shoelace formula gives it no area."""
    assert len(CocoFolder(_annotated(tmp_path, [[[10, 10, 60, 60, 60, 10, 10, 60]]])).boxes()) == 3


def test_no_annotations_are_named(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    content = json.loads((data / "instances.json").read_text()) | {"annotations": []}
    (data / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no instance to train on: it has no annotations"):
        CocoFolder(data)


def test_the_first_damaged_annotation_is_named_and_the_others_counted(tmp_path: Path) -> None:
    data = _annotated(tmp_path, [[[float("nan"), 2, 20, 2, 20, 12]]])
    with pytest.raises(DataError, match=r"json: annotation 1 \(image 0.png\): x is nan .*; 2 other annotations"):
        CocoFolder(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "segmentation",
    [
        [[1e9, 2, 20, 2, 20, 12]],
        [[-1e300, 2, 20, 2, 20, 12]],
        {"size": [SIZE, SIZE], "counts": [10, 50000, 70000]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [SIZE, SIZE], "counts": "zzzz\xff!!"},
        {"size": [SIZE, SIZE], "counts": "o" * 100_000},
        {"size": [SIZE, SIZE], "counts": [-(2**31), 2**31 + SIZE * SIZE]},
    ],
    ids=lambda each: str(each)[:30],
)
def test_no_bad_segmentation_crashes_or_takes_the_memory(tmp_path: Path, segmentation: Any) -> None:
    data = _annotated(tmp_path, [segmentation])
    config = write_config(tmp_path / "config.yaml")
    command = [sys.executable, "-m", "training", "--config", config, "--data", data, "--out", tmp_path / "out"]
    limit = 2 << 30

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=limited)
    assert result.returncode == 2, result.stderr
    assert "annotation 1 (image 0.png)" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "weights.pkl").exists()
