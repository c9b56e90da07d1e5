"""The format cutouts, read by zipfile and Pillow."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensormask_server.bad_request import BadRequest
from tensormask_server.responses.encoding import encode
from tensormask_server.responses.result import Model

from tests.unit.responses.examples import KINDS, random_mask, result_of, shapes


def opened(body: bytes) -> dict[str, np.ndarray]:
    """The PNGs by their names, each uint8 (h, w, 4)."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        images = {name: Image.open(archive.open(name)) for name in archive.namelist()}
        assert {image.mode for image in images.values()} <= {"RGBA"}
        return {name: np.array(image) for name, image in images.items()}


@given(st.sampled_from(KINDS), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_cutout_is_the_image_where_the_mask_is_and_transparent_elsewhere(kind: str, seed: int, crop: int) -> None:
    mask = random_mask(kind, seed)
    result = result_of(mask, crop, format="cutouts")
    cutouts = opened(encode(result))
    if not mask.any():
        assert cutouts == {}
        return
    [png] = cutouts.values()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    np.testing.assert_array_equal(png[..., 3], np.where(mask[place], 255, 0))
    np.testing.assert_array_equal(png[..., :3], np.where(mask[place][..., None], result.image[place], 0))


def test_names_have_the_number_the_class_and_the_score() -> None:
    names = list(opened(encode(shapes(format="cutouts"))))
    assert names[:3] == ["001_ant_0.90.png", "002_cat_0.80.png", "003_hot-dog_0.70.png"]
    assert len(names) == 8  # not of the mask without pixels
    assert "008_cat_0.20.png" not in names


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c:d", "猫", "", ".", "x" * 300, "\n\0", "con. ", "ü=1"])
def test_no_class_name_makes_an_unsafe_file_name(name: str) -> None:
    result = result_of(np.ones((3, 3), bool), format="cutouts")
    [file] = opened(encode(replace(result, model=Model("small", (name,), ""))))
    assert file.startswith("001_")
    assert file.endswith("_0.50.png") or file == "001_0.50.png"
    assert len(file) < 100
    assert set(file[:-4]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def test_the_same_result_gives_the_same_bytes() -> None:
    assert encode(shapes(format="cutouts")) == encode(shapes(format="cutouts"))


def test_too_many_pixels_are_refused_before_one_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: np.ndarray) -> bytes:
        raise AssertionError

    result = result_of(np.ones((50, 80), bool), format="cutouts")
    with monkeypatch.context() as patched:
        patched.setattr("tensormask_server.responses.cutouts.png_of", fail)
        with pytest.raises(BadRequest, match="4000 pixels, more than the 3999 bytes") as error:
            encode(replace(result, max_bytes=3999))
    assert "format coco" in error.value.expected
    with pytest.raises(BadRequest, match="the first 1 of 1 cut-outs have more than the 5000 bytes"):
        encode(replace(result, max_bytes=5000))
    assert len(encode(replace(result, max_bytes=20_000))) > 5000
