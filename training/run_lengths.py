"""COCO's run-length encodings of masks (RLE), checked before pycocotools reads them. It checks nothing itself.

The runs go down the columns, off and on by turns, and begin with an off one. The compressed text has 5 bits of a run's
length in each character, the lowest first, from the character "0" on. Bit 5 says that another character follows. From
the fourth run on, the text has the difference to the run two places before.

Source: rleToString and rleFrString of the COCO API's maskApi.c.
"""

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensormask_server.printable import printable, quoted

from training.spelled_numbers import whole_number

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
    runs = [count if type(count) is int else whole_number(count) for count in counts]
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
    ends = np.flatnonzero(values & 32 == 0)
    if len(values) and (not len(ends) or ends[-1] != len(values) - 1):
        raise RunLengthError("the text of its RLE ends within a number; it is damaged or cut off")
    starts = np.concatenate(([0], ends[:-1] + 1)).astype(np.int64)[: len(ends)]
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > MOST_CHARACTERS:
        raise RunLengthError(f"the text of its RLE has a number of {lengths.max()} characters; it is damaged")
    within = np.arange(len(values)) - np.repeat(starts, lengths)  # the place of each character in its number
    runs = np.add.reduceat((values & 31) << (5 * within), starts) if len(starts) else np.empty(0, np.int64)
    runs = np.where(values[ends] & 16, runs - (np.int64(1) << (5 * lengths)), runs)  # the sign
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs


def _damaged(text: str, place: int) -> RunLengthError:
    return RunLengthError(
        f"the text of its RLE has the character {quoted(text[place])} at place {place} of {len(text)}; expected the "
        f"characters from {printable(chr(LOWEST))} to {printable(chr(HIGHEST))} of COCO's compressed RLE"
    )
