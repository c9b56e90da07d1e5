"""Downloads a file over https to a place beside its own, and resumes where a connection has broken.

This is the standard library and not pooch. Pooch checks hashes, but it follows redirects to plain http, begins again
after a broken connection, doesn't hold other processes back, and needs requests and four more packages.
`urllib.request` brings proxies, and `ssl` certificates with SSL_CERT_FILE. What they leave out is written here.
"""

import errno
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError

from tensormask_server.models.errors import ModelError
from tensormask_server.models.opening import NETWORK_ERRORS, opened, reason_for
from tensormask_server.models.progress import Progress
from tensormask_server.printable import printable

CHUNK = 1 << 18  # bytes
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP errors that may be over in a moment
LONGEST_WAIT = 60.0  # seconds that a server's Retry-After may ask for
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|\?xml|head|body)", re.IGNORECASE)
CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)")


@dataclass(frozen=True)
class Patience:
    """How long a download goes on where the network or the server fails."""

    timeout: float = 30.0  # seconds without any byte, after which a connection counts as broken
    waits: Sequence[float] = (1, 2, 4, 8, 16)  # seconds before each new try; any byte that comes begins them anew


PATIENT = Patience()


class DiskFullError(ModelError):
    """There is no room for the file."""


def download(
    url: str, partial: Path, most: int, *, is_checked: bool, progress: Progress, patience: Patience = PATIENT
) -> None:
    """Downloads a file as far as it is missing in `partial`, and tries again where the connection breaks.

    Args:
        url: `check_url` accepts it.
        partial: where to write. Bytes that are there are the file's first ones, if `is_checked`; else they are dropped.
        most: the most bytes that the file may have.
        is_checked: whether the caller checks the whole file by a hash afterwards. If not, a broken download is resumed
            only where the server says that its file is still the same.

    Raises:
        DiskFullError: there is no room for it. `partial` is removed.
        ModelError: it can't be downloaded. The message says why, without the URL. `partial` is kept.
    """
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        if not is_checked:
            file.truncate(0)
        state = _State(url, file, most, is_checked, progress, patience.timeout)
        try:
            _download_all(state, patience.waits)
        except OSError as error:
            partial.unlink()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise ModelError(f"can't write {printable(partial)}: {error.strerror or error}") from error
            raise DiskFullError("the disk is full") from error
        except DiskFullError:
            partial.unlink()
            raise


@dataclass
class _State:
    """A download that goes on over several connections."""

    url: str
    file: BinaryIO
    most: int
    is_checked: bool
    progress: Progress
    timeout: float
    validator: str | None = None  # of the server's file, which the first bytes came from
    has_answered: bool = False  # whether any response has come

    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)


class _Broken(Exception):
    """The connection has failed in a way that may pass. The message says how."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait  # seconds that the server asks for


def _download_all(state: _State, waits: Sequence[float]) -> None:
    tries = 0
    while True:
        before = state.size()
        try:
            _download_rest(state)
            return
        except _Broken as error:
            if state.size() > before:
                tries = 0
            if tries >= len(waits):
                raise ModelError(f"{error}; {tries + 1} tries have failed") from error
            wait = max(waits[tries], min(error.wait, LONGEST_WAIT))
            tries += 1
            state.progress.note(f"{error}; trying again in {wait:g} s")
            time.sleep(wait)


def _download_rest(state: _State) -> None:
    """One connection: everything that is missing, or a _Broken."""
    have = state.size() if state.is_checked or state.validator else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and state.validator:
        headers["If-Range"] = state.validator
    try:
        response = opened(state.url, headers, state.timeout)
    except HTTPError as error:
        state.has_answered = True
        error.close()
        if error.code == 416:  # there is nothing behind the bytes that are here
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return
            state.file.truncate(0)
            raise _Broken("what was there of the file isn't the server's") from error
        if error.code in PASSING:
            raise _Broken(reason_for(error, state.url), _retry_after(error)) from error
        raise ModelError(reason_for(error, state.url)) from error
    except NETWORK_ERRORS as error:
        if state.has_answered:
            raise _Broken(reason_for(error, state.url)) from error
        raise ModelError(reason_for(error, state.url)) from error  # waiting wouldn't bring a network
    state.has_answered = True
    with response:
        _receive(state, response, have)


def _receive(state: _State, response: Any, have: int) -> None:
    """Appends a response's body to the file."""
    start, total = _extent(response)
    if start not in (0, have):
        raise ModelError(f"the server sends the bytes from {start} on; expected those from {have} on")
    _check_kind(response, total, state.most, is_complete_by_itself=state.is_checked or response.chunked)
    state.file.truncate(start)
    _check_room(state.file, total, start)
    done = state.file.seek(start)
    state.validator = _validator(response)
    while True:
        try:
            content = response.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise _Broken(reason_for(error, state.url)) from error
        if not content:
            break
        if done == 0 and PAGE.match(content):
            state.file.truncate(0)
            raise ModelError("the server sends an HTML or XML page (of an error or a login?); expected a file")
        done += len(content)
        if done > state.most:
            state.file.truncate(0)
            raise ModelError(f"it has more than {state.most} bytes; expected at most so many")
        state.file.write(content)
        state.progress.show(done, total)
    state.file.flush()
    if total is not None and done < total:
        raise _Broken(f"the connection broke after {done} of {total} bytes")


def _extent(response: Any) -> tuple[int, int | None]:
    """The place in the file of the response's first byte, and the size of the whole file where the server says it."""
    length: int | None = response.length  # what Content-Length says
    if response.status != 206:
        return 0, length
    content_range = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if content_range is None:
        raise ModelError("the server sends a part of the file without saying which one")
    start = int(content_range[1])
    if content_range[2] != "*":
        return start, int(content_range[2])
    return start, None if length is None else start + length


def _check_kind(response: Any, total: int | None, most: int, is_complete_by_itself: bool) -> None:
    """Checks the type, the encoding and the length that a response's headers name.

    Raises:
        ModelError: the response can't be the file.
    """
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise ModelError("the server sends an HTML page (of an error or a login?); expected a file")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ModelError(f"the server sends it compressed by {printable(encoding)}; expected the file as it is")
    if total is not None and total > most:
        raise ModelError(f"it has {total} bytes; expected at most {most}")
    if total is None and not is_complete_by_itself:
        raise ModelError("the server doesn't say how long the file is; --sha256 allows it to be checked")


def _check_room(file: BinaryIO, total: int | None, have: int) -> None:
    """Checks that there is room for the rest of the file.

    Raises:
        DiskFullError: the file system has less room than what is missing needs.
    """
    system = os.fstatvfs(file.fileno())
    free = system.f_bavail * system.f_frsize
    if total is not None and total - have > free:
        raise DiskFullError(f"it needs {(total - have) / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free")


def _validator(response: Any) -> str | None:
    """What tells whether the server's file is still the same, for If-Range: a strong ETag, or a time."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    return response.headers.get("Last-Modified") and str(response.headers["Last-Modified"])


def _retry_after(error: HTTPError) -> float:
    text = error.headers.get("Retry-After", "") or ""
    return float(text) if text.isascii() and text.isdecimal() else 0.0
