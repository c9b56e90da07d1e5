"""A command that continues an earlier run: its options must be those that the run began with."""

from collections.abc import Mapping
from pathlib import Path

from tensormask_server.printable import printable

SHOWN = 80  # bytes of a value in the message


class OptionsChanged(ValueError):
    """The options aren't those of the earlier run; the message has one line."""


def check_same_options(
    place: Path | str, earlier: Mapping[str, object], now: Mapping[str, object], place_option: str
) -> None:
    """Compares the options of a command with those of the earlier run that it would continue.

    Args:
        place: the file or folder that holds the earlier run's results.
        earlier: the earlier run's values by the option's name, as "score_threshold". None, or no entry: the default.
        now: likewise of this command; only these options are compared.
        place_option: the option that names the place, as "--out".

    Raises:
        OptionsChanged: a value differs.
    """
    for name, value in now.items():
        before = earlier.get(name)
        if before != value:
            option = f"--{name.lstrip('-').replace('_', '-')}"
            raise OptionsChanged(
                f"{printable(place)} holds results with another {option}: {_shown(before)}, not {_shown(value)}; "
                f"give the same {option} to continue, or name another {place_option}"
            )


def _shown(value: object) -> str:
    if value is None:
        return "the default"
    return printable(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, SHOWN)
