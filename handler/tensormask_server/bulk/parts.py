"""The parts of a run: files of a few hundred rows each, with the detections of the images."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileType

from tensormask_server.bulk.checksums import PLACE, is_whole, with_checksum
from tensormask_server.bulk.listing import UNFINISHED, Listing, RunError
from tensormask_server.bulk.places import Place, replaced_whole

AT_ONCE = 16  # parts that are read at the same time; on object stores each is a request

INSTANCE = pa.struct(
    [
        ("category_id", pa.int32()),
        ("category_name", pa.string()),
        ("score", pa.float32()),
        ("bbox", pa.list_(pa.float64(), 4)),  # x y w h in the image's pixels; the difference of two float32
        ("segmentation", pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])),
    ]
)
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("weights_sha256", pa.string()),
        ("instances", pa.list_(INSTANCE)),
        ("error", pa.string()),
    ]
)


class Parts:
    """The parts of a run that was begun. Part k holds the rows of the images from number k × part_size on."""

    def __init__(self, folder: Place):
        """Reads the listing of the run.

        Raises:
            RunError: no run was begun in this folder.
        """
        self.folder = folder
        self._listing = Listing(folder)
        self.part_size = self._listing.part_size
        self.images = self._listing.images
        self.settings = self._listing.settings

    def __len__(self) -> int:
        return -(-self.images // self.part_size)

    def rows(self, part: int) -> int:
        """The number of a part's rows, one for each of its images."""
        return min(self.part_size, self.images - part * self.part_size)

    def paths(self, part: int) -> list[str]:
        """The paths of a part's images.

        Raises:
            RunError: the listing is damaged.
        """
        return self._listing.paths(part * self.part_size, self.rows(part))

    def write(self, part: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a part completely or not at all. It replaces an existing part."""
        content = pa.BufferOutputStream()
        # also a checksum of each page, because other readers know only these
        with pq.ParquetWriter(content, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
            writer.add_key_value_metadata({"checksum": PLACE.decode()})
        with (
            replaced_whole(self._place(part), self.folder / f"{UNFINISHED}{part:06}-{uuid4().hex}") as unfinished,
            unfinished.filesystem.open_output_stream(unfinished.path) as file,
        ):
            file.write(with_checksum(content.getvalue().to_pybytes()))

    def errors(self, part: int) -> int | None:
        """How many of a part's images have an error. None: the part doesn't exist, or isn't complete."""
        place = self._place(part)
        try:
            with place.filesystem.open_input_file(place.path) as file:
                footer = pq.read_metadata(file)
            rows: int = footer.num_rows
            nulls = sum(_nulls(footer.row_group(i), "error") for i in range(footer.num_row_groups))
        except (OSError, pa.ArrowException, ValueError, AttributeError):  # AttributeError: a column without statistics
            return None
        return rows - nulls if rows == self.rows(part) else None

    def is_damaged(self, part: int) -> bool:
        """Whether a part exists and a byte of it has changed. Unlike `errors`, it only reads bytes."""
        place = self._place(part)
        if place.file_type != FileType.File:
            return False
        try:
            with place.filesystem.open_input_stream(place.path, compression=None) as file:
                return not is_whole(file.read())
        except OSError:  # for instance a disk that can't read it any more
            return True

    def damaged(self) -> list[int]:
        """The numbers of the damaged parts.

        Call it before anything else reads parts of an earlier run, because pyarrow can crash on a damaged footer.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [part for part, damaged in enumerate(pool.map(self.is_damaged, range(len(self)))) if damaged]

    def delete_damaged(self) -> int:
        """Deletes the damaged parts, so that they are made again. It returns their number."""
        damaged = self.damaged()
        for part in damaged:
            self.folder.filesystem.delete_file(self._place(part).path)
        return len(damaged)

    def failed(self, part: int) -> list[tuple[str, str]]:
        """The path and the error of each image of a part that has one."""
        place = self._place(part)
        table = pq.read_table(place.path, columns=["path", "error"], filesystem=place.filesystem)
        return [(row["path"], row["error"]) for row in table.to_pylist() if row["error"] is not None]

    def tries(self, part: int) -> Place:
        """The file that notes earlier tries at a part. `tidy` deletes it."""
        return self.folder / f"{UNFINISHED}{part:06}-tries"

    def finished(self) -> dict[int, int]:
        """From each complete part to the number of its errors."""
        entries = self.folder.filesystem.get_file_info(FileSelector(self.folder.path))
        names = {entry.base_name for entry in entries}
        existing = [part for part in range(len(self)) if _name(part) in names]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            counts = zip(existing, pool.map(self.errors, existing), strict=True)
            return {part: count for part, count in counts if count is not None}

    def tidy(self) -> None:
        """Deletes what killed processes left half-written. No other process may be writing."""
        filesystem = self.folder.filesystem
        for entry in filesystem.get_file_info(FileSelector(self.folder.path)):
            if entry.base_name.startswith(UNFINISHED):
                filesystem.delete_file(entry.path)

    def _place(self, part: int) -> Place:
        return self.folder / _name(part)


def _name(part: int) -> str:
    return f"part-{part:06}.parquet"


def _nulls(group: Any, column: str) -> int:
    for i in range(group.num_columns):
        if group.column(i).path_in_schema == column:
            return int(group.column(i).statistics.null_count)
    raise RunError(f"a part has no column {column}")
