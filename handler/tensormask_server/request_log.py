"""The log of requests: one line of JSON for each. The workers write it, and the launcher says where."""

import errno
import json
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "TENSORMASK_SERVER_REQUEST_LOG"  # environment variable of the workers: the log's absolute path
# a file that isn't there is made. A link isn't followed: others may have put it there. A FIFO doesn't block.
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
MODE = 0o640  # of a new file, less the process's umask
LONGEST_LINE = 4096  # bytes, the most that Linux writes to a FIFO as a whole

logger = logging.getLogger(__name__)


class RequestLog:
    """Appends records to the log. Several processes may write to the same one."""

    def __init__(self, path: Path):
        """
        Args:
            path: of the file, or of a FIFO that somebody reads.
        """
        self._path = path
        self._is_failing = False
        self._is_torn = False  # the last line that this process has written has no end

    @classmethod
    def of_environment(cls) -> "RequestLog | None":
        """The log that VARIABLE names. None: nobody wants one."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one line. A line that can't be written is lost: no request fails or waits for that.

        The file is opened for each line, so it may be renamed or cut at any time, as logrotate does. One call writes
        the whole line at the file's end, so lines of several processes don't mix. If a disk becomes full within a line,
        the next line of the process doesn't continue it.

        Args:
            record: values that JSON can hold; at most LONGEST_LINE bytes as JSON in ASCII.
        """
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"  # in ASCII, without control characters
        try:
            if len(line) > LONGEST_LINE:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            descriptor = os.open(self._path, FLAGS, MODE)
            try:
                line = b"\n" * self._is_torn + line
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
            self._is_torn = written < len(line)
            if self._is_torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if not self._is_failing:  # a full disk fails for each request
                logger.warning("the log of requests can't be written, and lines are lost: %s", error.strerror)
            self._is_failing = True
        else:
            self._is_failing = False


def check_log_file(path: Path) -> None:
    """Checks that lines can be appended to a file, and makes it if it isn't there.

    Raises:
        OSError: they can't. `strerror` says why.
    """
    descriptor = os.open(path, FLAGS, MODE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if status.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "it belongs to another user")
    finally:
        os.close(descriptor)
