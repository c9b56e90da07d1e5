"""Types of numbers for argparse, each with its range."""

import argparse
from collections.abc import Callable


def whole_number(least: int) -> Callable[[str], int]:
    """The type of whole numbers that are `least` or more."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
        return int(text)

    return parse


def weight(text: str) -> float:
    """The type of numbers that are 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):  # NaN isn't, either
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return value


def fraction(text: str) -> float:
    """The type of numbers from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:  # NaN isn't, either
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
