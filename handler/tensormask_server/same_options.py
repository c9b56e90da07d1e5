"""Checks that a command continues an earlier run with the run's options."""

from collections.abc import Mapping
from pathlib import Path

from tensormask_server.printable import printable

SHOWN = 80  # bytes of a value in the message


class OptionsChanged(ValueError):
    """The options aren't those of the earlier run. The message has one line."""


def check_same_options(
    place: Path | str, earlier: Mapping[str, object], now: Mapping[str, object], place_option: str
) -> None:
    """Compares the options of a command with those of the earlier run that it would continue.

    Args:
        place: the file or folder that holds the earlier run's results.
        earlier: the earlier run's values by the option, as "--format". None, or no entry, is the default.
        now: likewise of this command; only these are compared.
        place_option: the option that names the place, as "--out".

    Raises:
        OptionsChanged: a value differs.
    """
    for option, value in now.items():
        before = earlier.get(option)
        if before != value:
            raise OptionsChanged(
                f"{printable(place)} holds results with another {option}: {_shown(before)}, not {_shown(value)}; "
                f"give the same {option} to continue, or name another {place_option}"
            )


def by_option(values: Mapping[str, object]) -> dict[str, object]:
    """The values of Python's names by their options: {"max_side": 9} gives {"--max-side": 9}."""
    return {f"--{name.replace('_', '-')}": value for name, value in values.items()}


def _shown(value: object) -> str:
    if value is None:
        return "the default"
    return printable(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, SHOWN)
