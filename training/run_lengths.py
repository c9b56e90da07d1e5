"""Checks COCO's run-length encodings of masks (RLE) before pycocotools reads them, which checks nothing itself."""

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensormask_server.compressed_runs import characters_of_runs, decompressed_runs
from tensormask_server.printable import printable, quoted

from training.spelled_numbers import read_whole_number

LOWEST, HIGHEST = ord("0"), ord("o")  # the characters of compressed text
MOST_CHARACTERS = 7  # of one run; pycocotools would shift the bits of more out of its numbers


class RunLengthError(ValueError):
    """Runs that are no mask of the image. The message is a clause without the annotation's name."""


def checked_runs(counts: Any, height: int, width: int) -> tuple[list[int] | str, int]:
    """Checks the runs of a mask.

    Args:
        counts: a list of lengths, or compressed text, as str or bytes. Text that Python wrote from bytes, with b'…'
            around it, is taken as well.
        height, width: of the image, in pixels.

    Returns:
        The lengths as a list of integers, or the compressed text; and the number of pixels that are on.

    Raises:
        RunLengthError: a run is negative or no whole number, the text is damaged, or the runs aren't as long together
            as the image has pixels.
    """
    if isinstance(counts, list):
        runs = _whole_numbers(counts)
        checked: list[int] | str = runs.tolist()
    else:
        checked = _text(counts)
        runs = _decompressed(checked)
    negative = np.flatnonzero(runs < 0)
    if len(negative):
        raise RunLengthError(f"the run at place {negative[0]} of its RLE is {runs[negative[0]]}; expected 0 or more")
    total = int(runs.sum(dtype=np.float64))  # which can't overflow
    if total != height * width:
        raise RunLengthError(
            f"the runs of its RLE have {total} pixels together; expected the {height * width} of an image of "
            f"{height}×{width} (height × width)"
        )
    return checked, int(runs[1::2].sum())


def _whole_numbers(counts: Sequence[Any]) -> np.ndarray:
    """int64; numbers that are too large for any image are cut to 2⁶²."""
    runs = [count if type(count) is int else read_whole_number(count) for count in counts]
    for place, run in enumerate(runs):
        if run is None:
            raise RunLengthError(f"the run at place {place} of its RLE is {quoted(counts[place])}; expected pixels")
    return np.array([max(-(1 << 62), min(run, 1 << 62)) for run in runs if run is not None], np.int64)


def _text(counts: Any) -> str:
    text = counts.decode("latin1") if isinstance(counts, bytes | bytearray) else str(counts)
    if text[:2] in ("b'", 'b"') and text[-1:] == text[1] and len(text) > 2:
        try:
            literal = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text  # in which the quotation mark is refused
        return literal.decode("latin1") if isinstance(literal, bytes) else text
    return text


def _decompressed(text: str) -> np.ndarray:
    """int64 lengths of the runs; they can be negative."""
    try:
        codes = np.frombuffer(text.encode("latin1"), np.uint8)
    except UnicodeEncodeError as error:
        raise _damaged(text, error.start) from error
    wrong = np.flatnonzero((codes < LOWEST) | (codes > HIGHEST))
    if len(wrong):
        raise _damaged(text, int(wrong[0]))
    values = codes.astype(np.int64) - LOWEST
    if len(values) and values[-1] >= 32:
        raise RunLengthError("the text of its RLE ends within a number; it is damaged or cut off")
    characters = characters_of_runs(values)
    if len(characters) and characters.max() > MOST_CHARACTERS:
        raise RunLengthError(f"the text of its RLE has a number of {characters.max()} characters; it is damaged")
    return decompressed_runs(values, characters)


def _damaged(text: str, place: int) -> RunLengthError:
    return RunLengthError(
        f"the text of its RLE has the character {quoted(text[place])} at place {place} of {len(text)}; expected the "
        f"characters from {printable(chr(LOWEST))} to {printable(chr(HIGHEST))} of COCO's compressed RLE"
    )
