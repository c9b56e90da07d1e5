"""Lists in messages: the first few of many."""

from collections.abc import Sequence


def first_few(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first texts in one line, and how many more there are.

    Args:
        texts: printable.
        most: how many are shown.
        separator: between two of them, ", " or "; ".
    """
    left = len(texts) - most
    more = f"{separator.rstrip(', ')} and {left} more" if left > 0 else ""
    return separator.join(texts[:most]) + more
