"""The format csv, read by pandas and by Python's csv."""

import csv
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops_table
from tensormask_server import Detections
from tensormask_server.pixel_sizes import pixel_size
from tensormask_server.responses.encoding import encode
from tensormask_server.responses.result import Model
from tensormask_server.spreadsheets import FORMULA_STARTS

from tests.unit.responses.examples import shapes

OF_BOXES = ["instance", "class", "score", "box_x", "box_y", "box_width", "box_height"]
OF_MASKS = ["area", "perimeter", "centroid_x", "centroid_y", "equivalent_diameter", "orientation"]
# from the name of a column to that of scikit-image's
PROPERTIES = {
    "area": "area",
    "perimeter": "perimeter",
    "centroid_x": "centroid-1",
    "centroid_y": "centroid-0",
    "equivalent_diameter": "equivalent_diameter_area",
    "orientation": "orientation",
}


def table(body: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(body))


def test_pandas_reads_the_measures_of_regionprops_table() -> None:
    result = shapes(format="csv")
    detections = result.detections
    found = table(encode(result))
    assert set(found) == {*OF_BOXES, *OF_MASKS}
    assert found["area"].dtype == int
    assert found["instance"].tolist() == list(range(1, 10))
    assert found["class"].tolist() == [result.model.class_names[number] for number in detections.classes]
    np.testing.assert_allclose(found["score"], detections.scores, atol=1e-6)
    boxes = found[["box_x", "box_y", "box_width", "box_height"]].to_numpy()
    boxes[:, 2:] += boxes[:, :2]
    np.testing.assert_allclose(boxes, detections.boxes, atol=1e-3)
    assert detections.masks is not None
    wanted = ("area", "perimeter", "centroid", "equivalent_diameter_area", "orientation")
    for i, mask in enumerate(detections.masks):
        if not mask.any():
            assert found.loc[i, "area"] == 0
            assert found.loc[i, ["centroid_x", "centroid_y", "orientation"]].isna().all()
            continue
        expected = regionprops_table(mask.astype(np.uint8), properties=wanted)
        for name, property in PROPERTIES.items():
            assert found.loc[i, name] == pytest.approx(expected[property][0], abs=1e-4), name


def test_a_pixel_size_adds_columns_in_its_unit() -> None:
    found = table(encode(shapes(format="csv", pixel_size=pixel_size("0.25 µm"))))
    np.testing.assert_allclose(found["area_um2"], found["area"] / 16)
    lengths = [*OF_BOXES[3:], "perimeter", "centroid_x", "centroid_y", "equivalent_diameter"]
    for name in lengths:
        np.testing.assert_allclose(found[f"{name}_um"], found[name] / 4, atol=1e-4)
    assert set(found) == {*OF_BOXES, *OF_MASKS, "area_um2", *(f"{name}_um" for name in lengths)}


def test_tiny_and_large_units_keep_their_digits_and_have_no_exponent() -> None:
    for size in ("1e-9km", "250000nm"):
        body = encode(shapes(format="csv", pixel_size=pixel_size(size)))
        rows = list(csv.DictReader(io.StringIO(body.decode())))
        side = pixel_size(size).length
        assert float(rows[0][f"area_{pixel_size(size).unit}2"]) == pytest.approx(float(rows[0]["area"]) * side**2)
        numbers = [value for row in rows for name, value in row.items() if name != "class"]
        assert all(set(value) <= set("-0123456789.") for value in numbers)


def test_boxes_without_masks_have_no_columns_of_masks() -> None:
    assert list(table(encode(shapes(with_masks=False, format="csv")))) == OF_BOXES


def test_the_names_of_the_request_stand_in_each_row() -> None:
    found = table(encode(shapes(format="csv", image_id=7, file_name="b/ü, 1.jpg")))
    assert list(found)[:3] == ["image_id", "file_name", "instance"]
    assert set(found["image_id"]) == {7}
    assert set(found["file_name"]) == {"b/ü, 1.jpg"}


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_no_text_is_a_formula(start: str) -> None:
    """By the rules of https://owasp.org/www-community/attacks/CSV_Injection."""
    names = (f'{start}HYPERLINK("http://example.org","x")', "a,b", 'say "hi"')
    result = shapes(format="csv", file_name=f"{start}1.jpg", image_id=f"{start}x")
    body = encode(replace(result, model=Model("small", names, "")))
    assert body.count(b"\r\n") >= 10  # RFC 4180's line ends
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert [row["class"] for row in rows[:3]] == [f"'{names[0]}", *names[1:]]
    assert rows[0]["file_name"] == f"'{start}1.jpg"
    assert rows[0]["image_id"] == f"'{start}x"


def test_without_instances_there_is_a_line_of_names() -> None:
    result = shapes(format="csv")
    boxes, masks = np.zeros((0, 4), np.float32), np.zeros((0, *result.image.shape[:2]), bool)
    none = Detections.of_masks(boxes, np.zeros(0, np.float32), np.zeros(0, np.int64), masks)
    [line] = encode(replace(result, detections=none)).decode().splitlines()
    assert set(line.split(",")) == {*OF_BOXES, *OF_MASKS}
