"""A run's folder: the images that it is of, and in parts of a few hundred what was found on them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileType

from tensormask_server.bulk.checksums import PLACE, is_whole, with_checksum
from tensormask_server.bulk.places import Place

# what readers of folders leave out begins with _ or .
LISTING = "_images.parquet"
EARLIER_LISTING = "_pictures.parquet"  # of runs that version 0.1.0 began
UNFINISHED = ".part-"
LISTED_TOGETHER = 1000  # paths of a row group
AT_ONCE = 16  # parts that are looked at; on object stores each look is a request
# enough parts for many networks, but neither so many that Ray's account of them grows large, nor so large that the
# loss of one is the loss of hours
FEWEST_PARTS, MOST_PARTS, LARGEST_PART = 100, 10_000, 256

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


class RunError(ValueError):
    """A folder that a run can't be written to or go on in, in one line."""


@dataclass(frozen=True)
class Settings:
    """All that the rows depend on; it is kept, and a run is continued with the same alone."""

    input: str
    config: str  # SHA-256
    weights: str  # SHA-256
    classes: tuple[str, ...]  # names
    threshold: float
    precision: str
    max_pixels: int
    max_side: int


class Parts:
    """The parts of a run that was begun: part k holds the rows of the images from k × part_size on."""

    def __init__(self, folder: Place):
        """
        Raises:
            RunError: no run was begun in this folder.
        """
        self.folder = folder
        name = _listing_name(folder) or LISTING
        self._place_of_listing = listing = folder / name
        try:
            file = listing.filesystem.open_input_file(listing.path)
            self._listing = pq.ParquetFile(file, page_checksum_verification=True)
            text = self._listing.metadata.metadata[b"run"]
            if self._listing.metadata.metadata.get(b"run_sha256") != _sha256(text):
                raise ValueError("it is damaged, or of a run that another version began; name another --output")
            kept = json.loads(text)
            self.part_size: int = kept["part_size"]
            self.images: int = kept["images" if name == LISTING else "pictures"]
            settings = kept["settings"]
            self.settings = Settings(**{**settings, "classes": tuple(settings["classes"])})
        except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{folder} has no {LISTING} of a run that can be read from here: {error}") from error

    def __len__(self) -> int:
        return -(-self.images // self.part_size)

    def rows(self, part: int) -> int:
        return min(self.part_size, self.images - part * self.part_size)

    def paths(self, part: int) -> list[str]:
        """
        Raises:
            RunError: the list of the images is damaged.
        """
        start = part * self.part_size
        first, last = start // LISTED_TOGETHER, (start + self.rows(part) - 1) // LISTED_TOGETHER
        try:
            groups = self._listing.read_row_groups(list(range(first, last + 1)))
            paths: list[str] = groups["path"].slice(start - first * LISTED_TOGETHER, self.rows(part)).to_pylist()
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise RunError(f"{self._place_of_listing} is damaged; name another --output: {error}") from error
        if len(paths) != self.rows(part):
            raise RunError(f"{self._place_of_listing} is damaged, it has too few images; name another --output")
        return paths

    def write(self, part: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Whole or not at all; a part that is there is replaced."""
        target = self._place(part)
        unfinished = self.folder / f"{UNFINISHED}{part:06}-{uuid4().hex}"
        content = pa.BufferOutputStream()
        # a checksum of each page too, as other readers know no other
        with pq.ParquetWriter(content, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
            writer.add_key_value_metadata({"checksum": PLACE.decode()})
        with target.filesystem.open_output_stream(unfinished.path) as file:
            file.write(with_checksum(content.getvalue().to_pybytes()))
        target.filesystem.move(unfinished.path, target.path)

    def errors(self, part: int) -> int | None:
        """How many of its images have an error; None where the part isn't there, or isn't whole."""
        place = self._place(part)
        try:
            with place.filesystem.open_input_file(place.path) as file:
                footer = pq.read_metadata(file)
            rows: int = footer.num_rows
            nulls = sum(_nulls(footer.row_group(i), "error") for i in range(footer.num_row_groups))
        except (OSError, pa.ArrowException, ValueError, AttributeError):  # the latter: a column without statistics
            return None
        return rows - nulls if rows == self.rows(part) else None

    def is_damaged(self, part: int) -> bool:
        """Whether it is there and has another byte than was written. Unlike `errors` this reads all of it, and doesn't
        interpret it."""
        place = self._place(part)
        if place.kind != FileType.File:
            return False
        try:
            with place.filesystem.open_input_stream(place.path, compression=None) as file:
                return not is_whole(file.read())
        except OSError:  # as of a disk that can't read it any more
            return True

    def damaged(self) -> list[int]:
        """The parts of `is_damaged`. It comes before anything else is asked of parts that an earlier run has written,
        since pyarrow can crash on a damaged footer."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [part for part, is_so in enumerate(pool.map(self.is_damaged, range(len(self)))) if is_so]

    def take_away_damaged(self) -> int:
        """Takes the damaged parts away, so that they are done again.

        Returns:
            How many there were.
        """
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
        """Where it is noted what became of earlier tries at a part; `tidy` takes it away."""
        return self.folder / f"{UNFINISHED}{part:06}-tries"

    def finished(self) -> dict[int, int]:
        """The errors of each part that is there and whole."""
        entries = self.folder.filesystem.get_file_info(FileSelector(self.folder.path))
        names = {entry.base_name for entry in entries}
        there = [part for part in range(len(self)) if _name(part) in names]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            counts = zip(there, pool.map(self.errors, there), strict=True)
            return {part: count for part, count in counts if count is not None}

    def tidy(self) -> None:
        """Takes away what processes that were killed left half-written. Nothing else may be writing."""
        filesystem = self.folder.filesystem
        for entry in filesystem.get_file_info(FileSelector(self.folder.path)):
            if entry.base_name.startswith(UNFINISHED):
                filesystem.delete_file(entry.path)

    def _place(self, part: int) -> Place:
        return self.folder / _name(part)


def begin(folder: Place, settings: Settings, images: Iterable[str]) -> None:
    """Writes the images' paths and the settings, whole or not at all, a thousand at a time in memory.

    Raises:
        RunError: there are no images.
    """
    listing, unfinished = folder / LISTING, folder / f"{UNFINISHED}listing-{uuid4().hex}"
    schema = pa.schema([("path", pa.string())])
    count = 0
    try:
        with pq.ParquetWriter(
            unfinished.path, schema, filesystem=folder.filesystem, write_page_checksum=True
        ) as writer:
            for paths in _thousands(images):
                writer.write_table(pa.table([paths], schema), row_group_size=LISTED_TOGETHER)
                count += len(paths)
            text = json.dumps({"part_size": part_size(count), "images": count, "settings": asdict(settings)}).encode()
            writer.add_key_value_metadata({"run": text, "run_sha256": _sha256(text)})
        if count == 0:
            raise RunError(f"there are no images in {settings.input}")
        folder.filesystem.move(unfinished.path, listing.path)
    except BaseException:
        with suppress(OSError):  # it may not be there
            folder.filesystem.delete_file(unfinished.path)
        raise


def part_size(images: int) -> int:
    return max(1, min(LARGEST_PART, images // FEWEST_PARTS), images // MOST_PARTS)


def is_begun(folder: Place) -> bool:
    """
    Raises:
        RunError: something else is there.
    """
    if _listing_name(folder):
        return True
    if folder.kind == FileType.File:
        raise RunError(f"{folder} is a file; expected a folder")
    for entry in folder.filesystem.get_file_info(FileSelector(folder.path, allow_not_found=True)):
        if not entry.base_name.startswith((".", "_")):
            raise RunError(f"{folder} holds other things, {entry.base_name} for one; expected a new or an empty folder")
    return False


def check_same(parts: Parts, settings: Settings) -> None:
    """
    Raises:
        RunError: the run was begun with other settings.
    """
    for field in fields(Settings):
        before, now = getattr(parts.settings, field.name), getattr(settings, field.name)
        if before != now:
            raise RunError(
                f"{parts.folder} holds a run with another --{field.name.replace('_', '-')}, {_shown(before)} and not "
                f"{_shown(now)}; continue it with the same, or name another --output"
            )


def _listing_name(folder: Place) -> str | None:
    return next((name for name in (LISTING, EARLIER_LISTING) if (folder / name).kind == FileType.File), None)


def _shown(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 64 else f"{text[:61]}…"


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _name(part: int) -> str:
    return f"part-{part:06}.parquet"


def _nulls(group: Any, column: str) -> int:
    for i in range(group.num_columns):
        if group.column(i).path_in_schema == column:
            return int(group.column(i).statistics.null_count)
    raise RunError(f"a part has no column {column}")


def _thousands(images: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(images)
    while paths := list(islice(remaining, LISTED_TOGETHER)):
        yield paths
