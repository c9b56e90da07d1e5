"""A run's listing: all of its images and the settings that its rows depend on, in one file of its folder."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileType

from tensormask_server.bulk.places import Place, replaced_whole
from tensormask_server.same_options import by_option, check_same_options
from tensormask_server.tile_options import DEFAULT_OVERLAP

# readers of folders leave out names that begin with _ or .
LISTING = "_images.parquet"
EARLIER_LISTING = "_pictures.parquet"  # of runs that version 0.1.0 began
UNFINISHED = ".part-"
LISTED_TOGETHER = 1000  # paths of a row group
# There are enough parts for many networks, and few enough for Ray's memory. A part is small enough to be lost.
FEWEST_PARTS, MOST_PARTS, LARGEST_PART = 100, 10_000, 256


class RunError(ValueError):
    """A run can't be written to a folder, or continued in it. The message has one line."""


@dataclass(frozen=True)
class Settings:
    """All that the rows depend on, except the images. The folder keeps it, and a run continues only with the same."""

    input: str
    config: str  # SHA-256
    weights: str  # SHA-256
    classes: tuple[str, ...]  # names
    threshold: float
    precision: str
    max_pixels: int
    max_side: int
    # as in `PredictionOptions`; runs that were begun before there were tiles have none
    tile_size: int | str | None = None
    tile_overlap: float = DEFAULT_OVERLAP
    tile_whole: bool = True
    archive: str | None = None  # SHA-256 of OpenVINO's graph in it. None: torch computes the convolutions


class Listing:
    """The listing of a run that was begun."""

    def __init__(self, folder: Place):
        """Reads the listing of a folder.

        Raises:
            RunError: no run was begun in this folder, or its listing is damaged.
        """
        name = _listing_name(folder) or LISTING
        self._place = folder / name
        try:
            file = self._place.filesystem.open_input_file(self._place.path)
            self._file = pq.ParquetFile(file, page_checksum_verification=True)
            text = self._file.metadata.metadata[b"run"]
            if self._file.metadata.metadata.get(b"run_sha256") != _sha256(text):
                raise ValueError("it is damaged, or of a run that another version began; name another --output")
            run = json.loads(text)
            self.part_size: int = run["part_size"]
            self.images: int = run["images" if name == LISTING else "pictures"]
            settings = run["settings"]
            self.settings = Settings(**{**settings, "classes": tuple(settings["classes"])})
        except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{folder} has no {LISTING} of a run that can be read from here: {error}") from error

    def paths(self, start: int, count: int) -> list[str]:
        """The paths of `count` images from image `start` on.

        Raises:
            RunError: the listing is damaged.
        """
        first, last = start // LISTED_TOGETHER, (start + count - 1) // LISTED_TOGETHER
        try:
            groups = self._file.read_row_groups(list(range(first, last + 1)))
            paths: list[str] = groups["path"].slice(start - first * LISTED_TOGETHER, count).to_pylist()
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise RunError(f"{self._place} is damaged; name another --output: {error}") from error
        if len(paths) != count:
            raise RunError(f"{self._place} is damaged, it has too few images; name another --output")
        return paths


def begin(folder: Place, settings: Settings, images: Iterable[str]) -> None:
    """Writes the listing completely or not at all. Only a thousand paths at a time are in memory.

    Args:
        folder: of the run.
        settings: of the run.
        images: the paths of the images.

    Raises:
        RunError: there are no images.
    """
    schema = pa.schema([("path", pa.string())])
    count = 0
    with (
        replaced_whole(folder / LISTING, folder / f"{UNFINISHED}listing-{uuid4().hex}") as unfinished,
        pq.ParquetWriter(unfinished.path, schema, filesystem=folder.filesystem, write_page_checksum=True) as writer,
    ):
        for paths in _thousands(images):
            writer.write_table(pa.table([paths], schema), row_group_size=LISTED_TOGETHER)
            count += len(paths)
        if count == 0:
            raise RunError(f"there are no images in {settings.input}; expected a folder or a pattern that has some")
        text = json.dumps({"part_size": part_size(count), "images": count, "settings": asdict(settings)}).encode()
        writer.add_key_value_metadata({"run": text, "run_sha256": _sha256(text)})


def part_size(images: int) -> int:
    """The number of images in a part, for the number of images in the run."""
    return max(1, min(LARGEST_PART, images // FEWEST_PARTS), images // MOST_PARTS)


def is_begun(folder: Place) -> bool:
    """Whether the folder holds a run. It doesn't if it is empty or absent.

    Raises:
        RunError: it holds other files, or it is a file.
    """
    if _listing_name(folder):
        return True
    if folder.file_type == FileType.File:
        raise RunError(f"{folder} is a file; expected a folder")
    for entry in folder.filesystem.get_file_info(FileSelector(folder.path, allow_not_found=True)):
        if not entry.base_name.startswith((".", "_")):
            raise RunError(f"{folder} holds other files, such as {entry.base_name}; expected a new or an empty folder")
    return False


def check_same(folder: Place, earlier: Settings, now: Settings) -> None:
    """Checks that a run is continued with its settings.

    Args:
        folder: of the run.
        earlier: the settings of the run in the folder.
        now: the settings of the command.

    Raises:
        OptionsChanged: they differ.
    """
    check_same_options(str(folder), by_option(asdict(earlier)), by_option(asdict(now)), "--output")


def _listing_name(folder: Place) -> str | None:
    return next((name for name in (LISTING, EARLIER_LISTING) if (folder / name).file_type == FileType.File), None)


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _thousands(images: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(images)
    while paths := list(islice(remaining, LISTED_TOGETHER)):
        yield paths
