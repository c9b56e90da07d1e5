"""The arguments that tensormask-server and tensormask-gateway share."""

import argparse
import re

from tensormask_server.arguments import whole_number

IDLE_SECONDS = 60  # the default of --idle-timeout
ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def add_cors_origin_argument(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Adds --cors-origin, which gives a list.

    Args:
        parser: of a command.
        of: before the help, in a command that starts the gateway.
    """
    parser.add_argument(
        "--cors-origin",
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help=f"{of}pages of this origin may read responses; may be given several times (default: none)",
    )


def add_timeout_arguments(parser: argparse.ArgumentParser, program: str) -> None:
    """Adds --idle-timeout and --stop-timeout, in seconds.

    Args:
        parser: of a command.
        program: what the command runs, for the help: "server" or "gateway".
    """
    parser.add_argument(
        "--idle-timeout",
        type=whole_number(1, "seconds"),
        default=IDLE_SECONDS,
        metavar="S",
        help="seconds after which a connection without traffic is closed (default: %(default)s)",
    )
    parser.add_argument(
        "--stop-timeout",
        type=whole_number(0, "seconds"),
        default=30,
        metavar="S",
        help=f"seconds in which requests in hand are answered when the {program} is stopped (default: %(default)s)",
    )


def add_request_log_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --request-log.

    Args:
        parser: of a command.
        default: "" for no log, "-" for standard output.
    """
    parser.add_argument(
        "--request-log",
        default=default,
        metavar="FILE",
        help='append a line of JSON for each request; - for stdout, "" for none (default: "%(default)s")',
    )


def _origin(text: str) -> str:
    """Reads the origin of pages in a browser, as an argparse type."""
    if not ORIGIN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not an origin; expected https://HOST, with :PORT if it has one, in lower case and "
            "without a path"
        )
    return text
