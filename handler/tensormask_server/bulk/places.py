"""Finds images by the name of a file, a folder or a pattern, on any filesystem that pyarrow knows."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from tensormask_server.image_files import is_image_name

WILDCARD = re.compile(r"[*?\[]")


class PlaceError(ValueError):
    """A file or folder can't be used. The message has one line."""


@dataclass(frozen=True)
class Place:
    """A file or folder on a filesystem."""

    filesystem: FileSystem
    path: str  # as the filesystem names it
    prefix: str  # "s3://" or another start of a URI; "" for this machine's files

    def __truediv__(self, name: str) -> "Place":
        return Place(self.filesystem, f"{self.path}/{name}", self.prefix)

    def __str__(self) -> str:
        return self.prefix + self.path

    @property
    def file_type(self) -> FileType:
        """Whether it is a file, a folder or absent, now."""
        return self.filesystem.get_file_info(self.path).type


def place_of(name: str) -> Place:
    """Finds the filesystem of a name.

    Args:
        name: a path, or a URI of pyarrow's: file://, s3://, gs://, abfs://, hdfs://, or fsspec+ before one of fsspec's.

    Raises:
        PlaceError: the URI has another scheme, or it can't be read.
    """
    if "://" not in name:
        return Place(LocalFileSystem(), full_name(name), "")
    try:
        filesystem, path = FileSystem.from_uri(name)
    except (ValueError, OSError, ImportError) as error:
        raise PlaceError(f"can't read {name}: {' '.join(str(error).split())}") from error
    if isinstance(filesystem, LocalFileSystem):
        return Place(filesystem, path.rstrip("/"), "")
    parts = urlsplit(name)
    host = parts.netloc.rpartition("@")[2] if path.startswith("/") else ""  # elsewhere the path begins with it
    return Place(filesystem, path.rstrip("/"), f"{parts.scheme}://{host}")


def full_name(name: str) -> str:
    """The name as an absolute path, or as the URI that it is."""
    return name if "://" in name else str(Path(name).absolute())


@contextmanager
def replaced_whole(target: Place, unfinished: Place) -> Iterator[Place]:
    """Writes a file completely or not at all. The block writes to `unfinished`, which is moved to `target` at the end.

    Args:
        target: the file's place. A file there is replaced.
        unfinished: a new name on the same filesystem. It is deleted if the block raises an exception.

    Yields:
        `unfinished`.
    """
    try:
        yield unfinished
        target.filesystem.move(unfinished.path, target.path)
    except BaseException:
        with suppress(OSError):  # it may not exist
            unfinished.filesystem.delete_file(unfinished.path)
        raise


@dataclass(frozen=True)
class Source:
    """The images of a run: a folder, a pattern or one image."""

    root: Place  # a folder, or one image
    pattern: tuple[str, ...]  # of the names below the root; ** stands for any number of folders. Empty: no pattern

    def images(self) -> Iterator[str]:
        """The images' paths, each once, in a fixed order. At most one folder's paths are in memory at a time.

        For a folder, they are all files in it and in its folders whose names end as an image's. For a pattern, they are
        all matches.

        Raises:
            PlaceError: a file or folder doesn't exist, or can't be read.
        """
        file_type = self.root.file_type
        if file_type == FileType.NotFound:
            raise PlaceError(f"there is no {self.root}; expected a folder, an image, a pattern or a URI")
        if file_type == FileType.File and not self.pattern:
            yield str(self.root)
            return
        depth = len(self.pattern) if self.pattern and "**" not in self.pattern else None
        first = len(self.root.path.rstrip("/")) + 1
        for path in _files(self.root.filesystem, self.root.path, depth):
            if _matches(tuple(path[first:].split("/")), self.pattern) if self.pattern else _is_image(path):
                yield self.root.prefix + path


def source_of(name: str) -> Source:
    """Finds the images of a name.

    Args:
        name: as for `place_of`, or a pattern of such names with * ? [ and **. In a URI, ? begins pyarrow's options.

    Raises:
        PlaceError: as for `place_of`.
    """
    is_uri = "://" in name
    base, mark, options = name.partition("?") if is_uri else (name, "", "")
    if not WILDCARD.search(base) or (not is_uri and Path(name).exists()):
        return Source(place_of(name), ())
    names = base.split("/")
    fixed = next(i for i, each in enumerate(names) if WILDCARD.search(each))
    root = "/".join(names[:fixed]) or ("/" if base.startswith("/") else ".")
    return Source(place_of(root + mark + options), tuple(names[fixed:]))


def _files(filesystem: FileSystem, folder: str, depth: int | None) -> Iterator[str]:
    """The files in a folder and in its folders. Links to nothing are included, and get an error when they are read.

    Args:
        depth: levels of folders to search; 1 is only this folder, None is all.
    """
    # not a recursion, because folders can be nested thousands deep; from a folder to its remaining entries
    open_folders: dict[str, Iterator[FileInfo]] = {}

    def enter(folder: str) -> None:
        here = _identity(folder) if isinstance(filesystem, LocalFileSystem) else folder
        if here not in open_folders:  # otherwise a link would lead in a circle
            open_folders[here] = iter(_entries(filesystem, folder))

    enter(folder)
    while open_folders:
        here = next(reversed(open_folders))
        entry = next(open_folders[here], None)
        if entry is None:
            del open_folders[here]
        elif entry.type in (FileType.File, FileType.NotFound):
            yield entry.path
        elif entry.type == FileType.Directory and (depth is None or len(open_folders) < depth):
            enter(entry.path)


def _identity(folder: str) -> str:
    """A name that is the same for all links to a folder."""
    try:
        status = Path(folder).stat()
    except OSError:
        return folder
    return f"{status.st_dev}:{status.st_ino}"


def _entries(filesystem: FileSystem, folder: str) -> list[FileInfo]:
    try:
        entries = filesystem.get_file_info(FileSelector(folder))
        if isinstance(filesystem, LocalFileSystem):
            entries += _dangling(folder)
        return sorted(entries, key=lambda entry: entry.path)
    except OSError as error:
        raise PlaceError(f"can't read the folder {folder}: {error}") from error
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise PlaceError(f"a file in {folder} has a name that isn't UTF-8, {error.object!r}; rename it") from error


def _dangling(folder: str) -> list[FileInfo]:
    """A folder's links to nothing, which pyarrow leaves out."""
    links = (path for path in Path(folder).iterdir() if path.is_symlink())
    return [FileInfo(str(path), FileType.NotFound) for path in links if not path.exists()]


def _is_image(path: str) -> bool:
    return is_image_name(path.rpartition("/")[2])


def _matches(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(names[skipped:], pattern[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])
