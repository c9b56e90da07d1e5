"""The table of a video, as pandas, pyarrow and pycocotools read it."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as rle
from tensormask_server.video.records import Record
from tensormask_server.video.rows import COLUMNS, rows_of, write_rows


def record(frame: int, *names: str) -> Record:
    mask = np.zeros((8, 9), np.uint8, order="F")
    mask[2:5, 3:6] = 1
    counts = rle.encode(mask)["counts"].decode()
    instances = [
        {
            "category_id": 7,
            "category_name": name,
            "score": 0.123456,
            "bbox": [3, 2, 3, 3.5],
            "area": 9,
            "segmentation": {"size": [8, 9], "counts": counts},
        }
        for name in names
    ]
    return Record(frame, 512 * frame, {"instances": instances})


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".PARQUET"])
def test_a_row_for_each_instance_and_frame(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{suffix}"
    records = [record(0, "cat", "dog"), record(1), record(3, "cat")]
    ids = [[1, None], [], [1]]
    rows = [
        row for each, of_frame in zip(records, ids, strict=True) for row in rows_of(each, each.pts / 15360, of_frame)
    ]
    write_rows(path, rows)
    table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert tuple(table.columns) == tuple(COLUMNS)
    assert table["frame"].tolist() == [0, 0, 3]
    assert table["class"].tolist() == ["cat", "dog", "cat"]
    assert table["track"].fillna(0).astype(int).tolist() == [1, 0, 1]
    assert table["time"].tolist() == [0, 0, 0.1]
    assert table.loc[0, ["box_x", "box_y", "box_width", "box_height"]].tolist() == [3, 2, 3, 3.5]
    for text, area in zip(table["segmentation"], table["area"], strict=True):
        assert rle.decode(json.loads(text)).sum() == area == 9


def test_a_network_without_masks_has_empty_cells(tmp_path: Path) -> None:
    instance = {"category_id": 1, "category_name": "cat", "score": 1, "bbox": [0, 0, 1, 1]}
    write_rows(tmp_path / "table.csv", rows_of(Record(0, 0, {"instances": [instance]}), 0, [1]))
    table = pd.read_csv(tmp_path / "table.csv")
    assert table[["area", "segmentation"]].isna().all(axis=None)


def test_no_instances_are_a_table_without_rows(tmp_path: Path) -> None:
    for name in ("table.csv", "table.parquet"):
        write_rows(tmp_path / name, [])
    assert len(pd.read_csv(tmp_path / "table.csv")) == len(pd.read_parquet(tmp_path / "table.parquet")) == 0


def test_a_class_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    write_rows(tmp_path / "table.csv", rows_of(record(0, "=1+1"), 0, [None]))
    assert pd.read_csv(tmp_path / "table.csv")["class"].tolist() == ["'=1+1"]


def test_a_table_that_fails_is_not_there(tmp_path: Path) -> None:
    def rows() -> object:
        yield from rows_of(record(0, "cat"), float(Fraction(1, 3)), [None])
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_rows(tmp_path / "table.csv", rows())
    assert list(tmp_path.iterdir()) == []
