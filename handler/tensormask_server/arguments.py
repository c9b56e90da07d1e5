"""Arguments of the commands, for argparse: numbers with their ranges, and a hint for a misspelt option."""

import argparse
import re
from collections.abc import Callable, Sequence

from tensormask_server.spelling import did_you_mean, did_you_mean_fraction


def whole_number(least: int, unit: str = "") -> Callable[[str], int]:
    """Makes an argparse type for whole numbers of `least` or more, of a unit such as "seconds"."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
            kind = f"a whole number of {unit}" if unit else "a whole number"
            raise argparse.ArgumentTypeError(f"{text[:60]!r} is not {kind}, {least} or more")
        return int(text)

    return parse


def weight(text: str) -> float:
    """Reads a number of 0 or more, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):  # NaN is refused, too
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return value


def fraction(text: str) -> float:
    """Reads a number from 0 to 1, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:  # NaN is refused, too
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1{did_you_mean_fraction(value)}")
    return value


def parsed_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses a command's arguments as `parser.parse_args` does, and suggests the option that a misspelt one stands for.

    Args:
        parser: of the command.
        arguments: of the command. None: the process's own.

    Returns:
        The parsed arguments. An unknown argument ends the process with status 2 and a message on stderr.
    """
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        options = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", parser.format_help())
        names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        hint = next(filter(None, (did_you_mean(name, options) for name in names)), "")
        parser.error(f"unknown arguments: {' '.join(unknown)}{hint}; expected options that --help shows")
    return parsed
