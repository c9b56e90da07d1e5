"""The arguments of the tensormask-gateway command."""

import argparse
import re
from pathlib import Path

from tensormask_server import __version__
from tensormask_server.arguments import port, whole_number
from tensormask_server.gateway.settings import Settings
from tensormask_server.label_studio_arguments import add_label_studio_arguments
from tensormask_server.serving_arguments import (
    add_cors_origin_argument,
    add_request_log_argument,
    add_timeout_arguments,
)

DEFAULTS = Settings()
UPSTREAM = re.compile(r"http://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")


def gateway_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog="tensormask-gateway",
        description="A front door for a running tensormask-server: more paths, CORS, and errors that help.",
        add_help=False,  # -h is the host
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--help", action="help", help="show this and exit")
    add("--version", action="version", version=__version__)
    add("-h", "--host", default="127.0.0.1", help="0.0.0.0: all addresses (default: %(default)s)")
    add("-p", "--port", type=port, default=8000, help="(default: %(default)s)")
    add(
        "--upstream",
        type=_upstream,
        default=DEFAULTS.upstream,
        metavar="URL",
        help="the server behind (default: %(default)s)",
    )
    add(
        "--management-port",
        type=port,
        default=DEFAULTS.management_port,
        metavar="PORT",
        help="that server's, on this machine; it names the models (default: %(default)s)",
    )
    add("--key-file", type=Path, metavar="FILE", help="that server's key_file.json (default: this user's server's)")
    add_cors_origin_argument(parser)
    add(
        "--max-request-size",
        type=whole_number(1, "bytes"),
        default=DEFAULTS.max_body_bytes,
        metavar="BYTES",
        help="of a body, as max_request_size of the server behind (default: %(default)s)",
    )
    add(
        "--connections",
        type=whole_number(1),
        default=DEFAULTS.connections,
        metavar="N",
        help="requests that the server behind gets at a time (default: %(default)s)",
    )
    add(
        "--response-timeout",
        type=whole_number(1, "seconds"),
        default=DEFAULTS.response_seconds,
        metavar="S",
        help="seconds for a response; more than the server's queue can take (default: %(default)s)",
    )
    add_timeout_arguments(parser, "gateway")
    add_request_log_argument(parser, default="-")
    add_label_studio_arguments(parser)
    return parser


def _upstream(text: str) -> str:
    if not UPSTREAM.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a server's URL; expected http://HOST:PORT")
    return text
