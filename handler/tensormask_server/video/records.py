"""The file in which a run keeps the response to each frame until its video is written, so that it can be continued."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensormask_server.instances import read_instances
from tensormask_server.printable import printable
from tensormask_server.same_options import by_option, check_same_options
from tensormask_server.video.errors import VideoError

SUFFIX = ".frames.jsonl"  # after the name of the video that the run writes
LATEST = (1 << 63) - 1  # pts of a frame; FFmpeg's has 64 bits


def records_file(video: Path) -> Path:
    """Where a run that writes this video keeps its responses. There is such a file until the run is finished."""
    return video.with_name(video.name + SUFFIX)


@dataclass(frozen=True)
class Record:
    """The response to one frame."""

    frame: int  # its index
    pts: int  # in units of the source's time_base
    response: dict[str, Any]  # in the format coco


class Records:
    """A line of JSON for the settings, and one for each frame that has a response, in order.

    Use it as a context manager. Another process can't open it meanwhile.
    """

    def __init__(self, video: Path, settings: Mapping[str, object]):
        """Opens the file of an earlier run, or begins one.

        Args:
            video: that the run writes. The file stands beside it.
            settings: all that the responses depend on, as JSON.

        Raises:
            OptionsChanged: the earlier run had other settings.
            VideoError: the file is damaged, or another run is writing it.
            OSError: it can't be opened.
        """
        self.path = records_file(video)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self._descriptor = os.open(self.path, flags, 0o666)
        try:
            self._lock()
            self.count = 0  # frames with a response
            self.last_frame = -1  # the index of the last of them
            self._continue(settings)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def append(self, frame: int, pts: int, body: bytes) -> None:
        """Adds the response to a frame.

        Args:
            frame: its index, higher than those before.
            pts: as in `Record`.
            body: of the response, in the format coco.
        """
        self._write({"frame": frame, "pts": pts, "response": json.loads(body)})
        self.last_frame = frame
        self.count += 1

    def __iter__(self) -> Iterator[Record]:
        """All records, in order. Nothing may be appended meanwhile."""
        for number, line in enumerate(self._lines()):
            if number:
                yield _record(line, self.path)

    def delete(self) -> None:
        """Deletes the file, because the video is written."""
        self.path.unlink(missing_ok=True)

    def _continue(self, settings: Mapping[str, object]) -> None:
        kept = 0
        for line in self._lines():
            if not line.endswith(b"\n"):
                break  # the run was killed within this line
            if kept == 0:
                check_same_options(self.path, by_option(_object(line, self.path)), by_option(settings), "--out")
            else:
                record = _record(line, self.path)
                _check(record, self.last_frame, self.path)
                self.last_frame = record.frame
                self.count += 1
            kept += len(line)
        os.ftruncate(self._descriptor, kept)
        if kept == 0:
            self._write(settings)

    def _lines(self) -> Iterator[bytes]:
        with os.fdopen(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            yield from file

    def _write(self, content: Mapping[str, object]) -> None:
        """Adds a line. On a full disk a part of it may stay, which the next run removes."""
        left = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        while left:
            left = left[os.write(self._descriptor, left) :]

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return  # a file system without locks
            raise VideoError(f"another run is writing {printable(self.path)}; wait for its end, or end it") from error


def _record(line: bytes, path: Path) -> Record:
    content = _object(line, path)
    try:
        return Record(int(content["frame"]), int(content["pts"]), dict(content["response"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(path) from error


def _check(record: Record, last_frame: int, path: Path) -> None:
    """Checks a record of an earlier run, in whose file somebody may have changed something.

    Raises:
        VideoError: its frame isn't after the last one, its time is beyond 64 bits, or its response is none.
    """
    if record.frame <= last_frame or not -LATEST <= record.pts <= LATEST:
        raise _damaged(path)
    try:
        read_instances(json.dumps(record.response).encode(), "")
    except ValueError as error:
        raise _damaged(path) from error


def _object(line: bytes, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> VideoError:
    return VideoError(f"{printable(path)} isn't what an earlier run has written; delete it to begin again")
