"""The progress of a command, on stderr."""

import sys
from importlib.util import find_spec
from typing import Protocol, TextIO


class Progress(Protocol):
    """What the command uses of tqdm."""

    def update(self) -> object: ...
    def write(self, s: str, file: TextIO) -> None: ...
    def close(self) -> None: ...


def progress_bar(total: int, done: int) -> Progress:
    """A bar of tqdm; where tqdm isn't installed, a line of text.

    Args:
        total: images of the command.
        done: images that an earlier run has finished.
    """
    if find_spec("tqdm") is None:
        return _Counter(total, done)
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="image")


class _Counter:
    def __init__(self, total: int, done: int):
        self.total = total
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
        print(f"\r{self.done} of {self.total} images", end="", file=sys.stderr, flush=True)
