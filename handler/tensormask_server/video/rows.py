"""The table of a video: a row for each instance and frame, as CSV or Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from tensormask_server.regular_files import write_whole
from tensormask_server.spreadsheets import safe_cell
from tensormask_server.video.records import Record
from tensormask_server.video.tracks import Ids

SUFFIXES = (".csv", ".parquet")
BATCH = 10_000  # rows of a Parquet file that are in memory at a time
# by name: the type of its values
COLUMNS: dict[str, type] = {
    "frame": int,  # index in the video, from 0
    "time": float,  # seconds
    "track": int,  # the instance's id; none without --track, and for instances that were seen once
    "class": str,
    "category_id": int,
    "score": float,
    "box_x": float,  # pixels of the upright frame
    "box_y": float,
    "box_width": float,
    "box_height": float,
    "area": int,  # pixels of the mask
    "segmentation": str,  # the mask in COCO's compressed run lengths, as JSON
}
Row = dict[str, object]


def rows_of(record: Record, seconds: float, ids: Ids) -> Iterator[Row]:
    """The rows of one frame, best score first.

    Args:
        record: of the frame.
        seconds: when it is shown.
        ids: of its instances.
    """
    for instance, id_ in zip(record.response["instances"], ids, strict=True):
        mask = instance.get("segmentation")
        x, y, width, height = instance["bbox"]
        yield {
            "frame": record.frame,
            "time": round(seconds, 6),
            "track": id_,
            "class": instance["category_name"],
            "category_id": instance["category_id"],
            "score": float(instance["score"]),
            "box_x": float(x),
            "box_y": float(y),
            "box_width": float(width),
            "box_height": float(height),
            "area": instance.get("area") if mask else None,
            "segmentation": json.dumps(mask, separators=(",", ":")) if mask else None,
        }


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes a table completely or not at all.

    Args:
        path: ends in one of SUFFIXES. Parquet needs the package pyarrow.
        rows: in order.

    Raises:
        OSError: it can't be written.
    """
    write = _write_parquet if path.suffix.lower() == ".parquet" else _write_csv
    write_whole(path, lambda file: write(file, rows))


def _write_csv(file: BinaryIO, rows: Iterable[Row]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([safe_cell(row[name]) for name in COLUMNS] for row in rows)
    text.flush()
    text.detach()


def _write_parquet(file: BinaryIO, rows: Iterable[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, types[type_]) for name, type_ in COLUMNS.items()])
    with pq.ParquetWriter(file, schema) as writer:
        left = iter(rows)
        while batch := list(islice(left, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema))
