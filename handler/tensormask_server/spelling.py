"""The known name that a misspelt one stands for, for error messages."""

import difflib
from collections.abc import Iterable

LONGEST_NAME = 100  # characters; comparing a longer name takes time and memory, and finds nothing
LEAST_PERCENTAGE = 5  # a smaller number above 1 is rather a slip
LEAST_SIMILARITY = 0.6  # of difflib's ratio, 0…1: one wrong letter in a short word is still near


def did_you_mean(name: object, known_names: Iterable[str], similarity: float = LEAST_SIMILARITY) -> str:
    """The hint to put behind an unknown name in an error message. Letter case doesn't matter.

    Args:
        name: what the user wrote. A name that isn't a string, as in YAML, is compared as `str` shows it.
        known_names: the names that would be accepted.
        similarity: 0…1, by difflib's ratio: how near a known name has to be.

    Returns:
        " (did you mean score_threshold?)", or "" if no known name is near.
    """
    text = str(name)
    if len(text) > LONGEST_NAME:
        return ""
    by_lower_case: dict[str, str] = {}
    for known in known_names:
        by_lower_case.setdefault(known.lower(), known)
    near = difflib.get_close_matches(text.lower(), by_lower_case, n=1, cutoff=similarity)
    return f" (did you mean {by_lower_case[near[0]]}?)" if near else ""


def did_you_mean_fraction(value: object) -> str:
    """The hint to put behind a number that should be from 0 to 1, where it may be a percentage.

    Args:
        value: a number, or anything else that isn't one.

    Returns:
        " (did you mean 0.5?)" for 50; "" for what isn't from 5 to 100.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not LEAST_PERCENTAGE <= value <= 100:
        return ""
    return f" (did you mean {value / 100:g}?)"
