"""The sample images of a model: the page for browsers offers them to who has no image at hand."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tensormask_server.printable import quoted
from tensormask_server.regular_files import read_regular

FOLDER = "samples"  # in an archive
MOST_SAMPLES = 4
MOST_BYTES = 200_000  # of one sample; the page holds all of them
# from a suffix to the media type, and how such a file begins. Every browser shows these
KINDS = {
    ".jpg": ("image/jpeg", rb"\xff\xd8\xff"),
    ".png": ("image/png", rb"\x89PNG"),
    ".webp": ("image/webp", rb"RIFF....WEBP"),
}
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,79}\.[a-z]+")


class SampleError(ValueError):
    """A folder of samples can't be used. The message has one line."""


@dataclass(frozen=True)
class Sample:
    """One image file."""

    name: str  # of the file
    media_type: str
    content: bytes

    @property
    def caption(self) -> str:
        """What the page calls it: its name without a number before it and the suffix. "2-as-usual.jpg": "as usual"."""
        return re.sub(r"[_-]+", " ", re.sub(r"^\d+[_-]", "", Path(self.name).stem))


def read_samples(folder: Path) -> tuple[Sample, ...]:
    """Reads the samples of a folder.

    Args:
        folder: holds up to MOST_SAMPLES images and nothing else but hidden files.

    Returns:
        The samples in the order of their names.

    Raises:
        SampleError: the folder holds something else.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise SampleError(
            f"the folder of samples can't be read: {error.strerror}; expected a folder of images"
        ) from error
    if not 1 <= len(paths) <= MOST_SAMPLES:
        raise SampleError(f"the folder of samples holds {len(paths)} files; expected 1 to {MOST_SAMPLES} images")
    return tuple(_read(path) for path in paths)


def write_samples(samples: Sequence[Sample], folder: Path) -> None:
    """Writes samples into a new folder, from which `read_samples` reads the same."""
    folder.mkdir()
    for sample in samples:
        (folder / sample.name).write_bytes(sample.content)


def _read(path: Path) -> Sample:
    """
    Raises:
        SampleError: it is no image that a page can hold.
    """
    shown = f"the sample {quoted(path.name)}"
    if path.suffix not in KINDS or not NAME.fullmatch(path.name):
        expected = f"expected letters, digits, - and _, and one of {', '.join(KINDS)}"
        raise SampleError(f"{shown} has a name that can't be used; {expected}")
    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise SampleError(f"{shown} can't be read: {error.strerror}") from error
    media_type, beginning = KINDS[path.suffix]
    if not re.match(beginning, content, re.DOTALL):
        raise SampleError(f"{shown} isn't an image of its suffix; expected {media_type}")
    return Sample(path.name, media_type, content)
