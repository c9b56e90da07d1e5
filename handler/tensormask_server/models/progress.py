"""The progress of a download on stderr: a bar on a terminal, and elsewhere now and then a line."""

import sys
import time

from tensormask_server.printable import say

WIDTH = 24  # characters of the bar
EVERY = 0.2  # seconds between two drawings on a terminal
EVERY_LINE = 10.0  # seconds between two lines elsewhere


class Progress:
    """Shows how much of a download is there, how fast it goes, and how long it will take."""

    def __init__(self, name: str):
        """
        Args:
            name: of what is downloaded, safe to print.
        """
        self._name = name
        self._is_terminal = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()
        self._first: int | None = None  # bytes that were there before the first of this process came

    def show(self, done: int, total: int | None) -> None:
        """Draws the state, unless that was done just now.

        Args:
            done: bytes that are there.
            total: bytes of the whole file, where that is known.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._shown < (EVERY if self._is_terminal else EVERY_LINE):
            return
        self._shown = now
        text = state_text(done, total, done - self._first, now - self._started)
        if self._is_terminal:
            _write(f"\r\033[K{self._name}  {text}")
        else:
            say(f"{self._name}  {text}", sys.stderr)

    def note(self, line: str) -> None:
        """Prints a line for itself."""
        say(f"\r\033[K{line}" if self._is_terminal else line, sys.stderr)

    def finish(self, done: int) -> None:
        """Prints the last line, once the whole file is there."""
        self.note(f"{self._name}  {done / 1e6:.1f} MB in {_time(time.monotonic() - self._started)}")


def state_text(done: int, total: int | None, received: int, seconds: float) -> str:
    """The bar, the bytes, the speed and the time that is left.

    Args:
        received: bytes that came in the last `seconds`, of which the speed is computed.
    """
    speed = received / seconds if seconds > 0 else 0.0
    if not total:
        return f"{done / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s"
    full = WIDTH * done // total
    left = f", {_time((total - done) / speed)} left" if speed > 0 else ""
    bar = "#" * full + "-" * (WIDTH - full)
    return f"[{bar}] {100 * done // total:3d} %  {done / 1e6:.1f} of {total / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s{left}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:  # as in `say`: nobody reads it
        pass
