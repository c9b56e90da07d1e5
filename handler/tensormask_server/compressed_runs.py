"""Decompresses COCO's run lengths, of which each character has 5 bits.

The runs go down the columns, off and on by turns, and begin with an off one. A character is 48 + its bits, + 32 where
another one of the same number follows. A number is in two's complement, the lowest bits first. From the fourth run on,
it is the difference to the run two places before.

Source: rleToString and rleFrString of the COCO API's maskApi.c.
"""

import numpy as np


def characters_of_runs(codes: np.ndarray) -> np.ndarray:
    """How many characters each run has.

    Args:
        codes: int64 (C,), the characters less 48; each from 0 to 63, and the last one below 32.

    Returns:
        int64 (R,).
    """
    return np.diff(np.flatnonzero(codes < 32), prepend=-1)


def decompressed_runs(codes: np.ndarray, characters: np.ndarray) -> np.ndarray:
    """The lengths of the runs, in pixels.

    Args:
        codes: as `characters_of_runs` takes them.
        characters: of each run, few enough that its bits fit into 64.

    Returns:
        int64 (R,); damaged text can have negative lengths.
    """
    if not len(codes):
        return np.empty(0, np.int64)
    ends = characters.cumsum()
    starts = ends - characters
    places = np.arange(len(codes)) - np.repeat(starts, characters)  # of each character in its number
    runs = np.add.reduceat((codes & 31) << (5 * places), starts)
    runs -= ((codes[ends - 1] & 16) << 1) << (5 * (characters - 1))  # the sign
    for start in (1, 2):
        runs[start::2] = runs[start::2].cumsum()
    return runs
