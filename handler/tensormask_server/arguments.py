"""Arguments of the commands, for argparse: numbers with their ranges, and a hint for a misspelt option."""

import argparse
import re
from collections.abc import Callable, Sequence

from tensormask_server.spelling import did_you_mean, did_you_mean_fraction
from tensormask_server.tile_options import (
    AUTO,
    DEFAULT_OVERLAP,
    EXPECTED_OVERLAP,
    EXPECTED_SIZE,
    NO_TILES,
    is_tile_overlap,
    is_tile_size,
)


def whole_number(least: int, unit: str = "") -> Callable[[str], int]:
    """Makes an argparse type for whole numbers of `least` or more, of a unit such as "seconds"."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
            kind = f"a whole number of {unit}" if unit else "a whole number"
            raise argparse.ArgumentTypeError(f"{text[:60]!r} is not {kind}, {least} or more")
        return int(text)

    return parse


def port(text: str) -> int:
    """Reads a port, as an argparse type."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a port; expected a whole number from 1 to 65535")
    return int(text)


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


def tile_size(text: str) -> int | str | None:
    """Reads a size of tiles, as an argparse type: "auto", pixels, or "none", which gives None."""
    value = int(text) if text.isdecimal() else text.lower()
    if value == NO_TILES:
        return None
    if not is_tile_size(value):
        hint = did_you_mean(text, (AUTO, NO_TILES))
        raise argparse.ArgumentTypeError(f"{text!r} is not {EXPECTED_SIZE}; {NO_TILES} for no tiles{hint}")
    return value


def tile_overlap(text: str) -> float:
    """Reads an overlap of tiles, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not is_tile_overlap(value):  # NaN is refused, too
        raise argparse.ArgumentTypeError(f"{text!r} is not {EXPECTED_OVERLAP}{did_you_mean_fraction(value)}")
    return value


def add_tile_arguments(parser: argparse.ArgumentParser, has_archive: bool = False) -> None:
    """Adds --tile-size, --tile-overlap and --tile-whole, with the names of `PredictionOptions`.

    Args:
        parser: of a command.
        has_archive: whether the command may get these options from an archive. Then the parsed arguments have only
            those that were given.
    """
    add, archives = parser.add_argument, ", or the archive's" if has_archive else ""
    add(
        "--tile-size",
        type=tile_size,
        default=argparse.SUPPRESS if has_archive else None,
        metavar="PIXELS",
        help="cut larger images into tiles of this side; auto: the side at which the network's input isn't reduced; "
        f"none: no tiles (default: none{archives})",
    )
    add(
        "--tile-overlap",
        type=tile_overlap,
        default=argparse.SUPPRESS if has_archive else DEFAULT_OVERLAP,
        metavar="FRACTION",
        help="neighbouring tiles overlap by at least this fraction of a tile's side "
        f"(default: {DEFAULT_OVERLAP}{archives})",
    )
    add(
        "--tile-whole",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS if has_archive else True,
        help=f"with tiles, whether the network also sees the whole image once (default: it does{archives})",
    )


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
