"""Shows the progress of a command on stderr."""

import sys
from importlib.util import find_spec
from typing import Protocol, TextIO


class Progress(Protocol):
    """The methods of tqdm that the command uses."""

    def update(self) -> object: ...
    def write(self, s: str, file: TextIO) -> None: ...
    def close(self) -> None: ...


def progress_bar(total: int, done: int, unit: str = "image", verb: str = "") -> Progress:
    """Makes a progress bar of tqdm, or a line of text if tqdm isn't installed.

    Args:
        total: number of the command's images, or of what `unit` names; can be an estimate.
        done: number of these that an earlier run has finished.
        unit: what is counted, in the singular.
        verb: what is done to them; "" if that is clear.
    """
    if find_spec("tqdm") is None:
        return _Counter(total, done, f"{unit}s {verb}".rstrip())
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit=unit, desc=verb or None)


class _Counter:
    def __init__(self, total: int, done: int, what: str):
        self.total = total
        self.what = what
        self.done = done
        self._show()

    def update(self) -> None:
        self.done += 1
        self._show()

    def write(self, s: str, file: TextIO) -> None:
        print(f"\r\033[K{s}" if file.isatty() else f"\n{s}", file=file)

    def close(self) -> None:
        print(file=sys.stderr)

    def _show(self) -> None:
        print(f"\r{self.done} of {self.total} {self.what}", end="", file=sys.stderr, flush=True)
