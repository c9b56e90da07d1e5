"""The folder of downloaded files. Each file is downloaded once, by one process, and is checked whenever it is used.

Beside a file lies FILE.sha256 with the hash of its first download, in the format of the command sha256sum. While a file
is downloaded there are FILE.partial and FILE.lock too.
"""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tensormask_server.models.download import PATIENT, DiskFullError, Patience, download
from tensormask_server.models.errors import ModelError
from tensormask_server.models.progress import Progress
from tensormask_server.printable import printable, say
from tensormask_server.published_names import digits_in_name
from tensormask_server.regular_files import MOST_TEXT, read_regular, sha256_of, write_whole

CACHE_VARIABLE = "TENSORMASK_CACHE"
FOLDER = "tensormask-server"
LOCK_EVERY = 0.2  # seconds between two tries to get a lock that another process has


@dataclass(frozen=True)
class Wanted:
    """A file that is to be in the cache."""

    name: str  # as messages name it
    url: str
    path: Path  # in the cache
    most: int  # the most bytes that it may have
    sha256: str = ""  # the hash, or the first digits of it, that the file must have
    advice: str = ""  # what a user can do where it can't be downloaded


def cache_folder() -> Path:
    """The folder that TENSORMASK_CACHE names, else one in the platform's folder for caches."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))  # noqa: PTH100, PTH111  # Path's raise for ~unknown
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / FOLDER
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / FOLDER


def fetch(wanted: Wanted, *, offline: bool = False, patience: Patience = PATIENT) -> Path:
    """A file's path in the cache, after it was downloaded if it wasn't there, and checked.

    Args:
        offline: never use the network.
        patience: for a slow network; see `download`.

    Returns:
        `wanted.path`.

    Raises:
        ModelError: it can't be downloaded, or isn't what is expected.
    """
    try:
        if _is_there(wanted):
            return wanted.path
        if offline:
            raise ModelError(
                f"{wanted.name} isn't in the cache ({printable(wanted.path.parent)}), and downloads are turned off; "
                f"{wanted.advice}"
            )
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(wanted):
            if not _is_there(wanted):  # another process may have fetched it meanwhile
                _download(wanted, patience)
    except OSError as error:
        raise ModelError(
            f"can't use the cache for {wanted.name}: {printable(error.filename or wanted.path)}: {error.strerror}; "
            f"{CACHE_VARIABLE} names another folder for it"
        ) from error
    return wanted.path


def check_digits(path: Path, sha256: str, digits: str, source: str) -> None:
    """Compares a file's SHA-256 with what is known of it.

    Args:
        path: of the file, for the message.
        sha256: the file's.
        digits: how it has to begin.
        source: where the digits come from, for the message.

    Raises:
        ModelError: it begins otherwise.
    """
    if not sha256.startswith(digits):
        expected = digits if len(digits) == len(sha256) else f"{digits}…"
        raise ModelError(f"{printable(path)} has the SHA-256 {sha256}; expected {expected} ({source})")


def _is_there(wanted: Wanted) -> bool:
    """Whether the file is in the cache.

    Raises:
        ModelError: it is, and isn't what was downloaded or what is expected.
    """
    if not wanted.path.exists():
        return False
    try:
        sha256 = _checked(wanted, wanted.path)
    except ModelError as error:
        raise ModelError(f"{error}; delete the file to download it again") from error
    if not _record(wanted.path).exists():  # a user has put it there
        with contextlib.suppress(OSError):  # as of a cache that can only be read
            _write_record(wanted.path, sha256)
    return True


def _download(wanted: Wanted, patience: Patience) -> None:
    partial = wanted.path.with_name(f"{wanted.path.name}.partial")
    is_checked = any(digits for digits, _ in _expected(wanted))
    was_begun = is_checked and partial.exists() and partial.stat().st_size > 0
    progress = Progress(wanted.name)
    progress.note(f"downloading {printable(wanted.url)} to {printable(wanted.path)}")
    try:
        download(wanted.url, partial, wanted.most, is_checked=is_checked, progress=progress, patience=patience)
    except DiskFullError as error:
        raise ModelError(
            f"can't download {wanted.name} to {printable(wanted.path.parent)}: {error}; make room, or let "
            f"{CACHE_VARIABLE} name a folder with room"
        ) from error
    except ModelError as error:
        raise ModelError(f"can't download {wanted.name}: {error}; {wanted.advice}") from error
    try:
        sha256 = _checked(wanted, partial)
    except ModelError as error:
        partial.unlink()
        if was_begun:  # its first bytes may have been another file's
            progress.note(f"{error}; downloading all of it again")
            _download(wanted, patience)
            return
        raise ModelError(
            f"what the server sends isn't {wanted.name}: {error}; nothing of it is kept; {wanted.advice}"
        ) from error
    _write_record(wanted.path, sha256)
    progress.finish(partial.stat().st_size)
    partial.replace(wanted.path)


def _checked(wanted: Wanted, path: Path) -> str:
    """The file's SHA-256, which has all digits that are known.

    Raises:
        ModelError: it hasn't.
    """
    sha256 = sha256_of(path, wanted.most)
    for digits, source in _expected(wanted):
        check_digits(path, sha256, digits, source)
    return sha256


def _expected(wanted: Wanted) -> list[tuple[str, str]]:
    """What is known of the file's SHA-256: its first digits, which can be none, and where they come from."""
    record = _record(wanted.path)
    recorded = _digits_of(record) if record.exists() else ""
    return [
        (wanted.sha256, "the hash that was given for it"),
        (digits_in_name(wanted.path), "the digits in its name"),
        (recorded, f"as it was first downloaded, by {printable(record)}"),
    ]


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digits_of(record: Path) -> str:
    """The hash in a record. Bytes that aren't text are replaced: no file has such a hash."""
    text = read_regular(record, MOST_TEXT).decode(errors="replace")
    return printable(text.partition(" ")[0].strip())


def _write_record(path: Path, sha256: str) -> None:
    write_whole(_record(path), lambda file: file.write(f"{sha256}  {path.name}\n".encode()))


@contextlib.contextmanager
def _locked(wanted: Wanted) -> Iterator[None]:
    """Holds the lock on a file's download. It ends with the process, however that ends."""
    path = wanted.path.with_name(f"{wanted.path.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        is_waiting = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not is_waiting:
                    say(f"another process downloads {wanted.name}; waiting for it", sys.stderr)
                is_waiting = True
                time.sleep(LOCK_EVERY)
        yield
    finally:
        os.close(descriptor)
