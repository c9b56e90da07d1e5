"""The arguments of the tensormask-server command."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensormask_server import __version__
from tensormask_server.archive.arguments import add_archive_arguments
from tensormask_server.arguments import parsed_arguments, port
from tensormask_server.config_properties import PROPERTIES
from tensormask_server.extras import missing_extra
from tensormask_server.label_studio_arguments import add_label_studio_arguments, label_studio_token
from tensormask_server.models.arguments import EXPECTED, is_complete
from tensormask_server.serving_arguments import (
    add_cors_origin_argument,
    add_request_log_argument,
    add_timeout_arguments,
)
from tensormask_server.tokens import TokenError
from tensormask_server.torchserve.java_memory import MIB
from tensormask_server.torchserve.memory_sizes import memory_size


def server_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses and checks the arguments. Wrong ones end the process with 2.

    Args:
        arguments: of the command; None for the process's own.

    Returns:
        The arguments. Either `archives` has files, or those that `made_archives` takes are complete. With `list_models`
        nothing is checked.
    """
    parser = _parser()
    parsed = parsed_arguments(parser, arguments)
    if parsed.list_models:
        return parsed
    if bool(parsed.archives) == is_complete(parsed):
        parser.error(f"{EXPECTED}, or --archive FILE.mar")
    if parsed.archives:
        given = [name for name, default in _archived_options().items() if getattr(parsed, name) != default]
        if given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            parser.error(f"{names}: with --archive the archive decides these; ./archive.sh makes one with other values")
    if bool(parsed.certificate) != bool(parsed.key):
        parser.error("--certificate CERT.pem and --key KEY.pem go together")
    if parsed.gateway:
        _check_gateway(parser, parsed)
    elif parsed.cors_origin:
        parser.error("--cors-origin is an option of the gateway; give --gateway PORT as well")
    elif parsed.label_studio or parsed.label_studio_token_file:
        parser.error("--label-studio is an option of the gateway; give --gateway PORT as well")
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tensormask-server",
        description="Serves TensorMask over HTTP until Ctrl-C.",
        add_help=False,  # -h is the host
        allow_abbrev=False,  # --no-t must not turn tokens off
    )
    add = parser.add_argument
    add("--help", action="help", help="show this and exit")
    add("--version", action="version", version=__version__)
    add("--list-models", action="store_true", help="show the models that have a name, and exit")
    add(
        "--archive",
        type=Path,
        action="append",
        dest="archives",
        metavar="FILE.mar",
        help="an archive of archive.sh, instead of --model, or -cp and -tp; again for each further one",
    )
    add(
        "-h",
        "--host",
        type=_host,
        default="127.0.0.1",
        help="0.0.0.0: all addresses, with tokens (default: %(default)s)",
    )
    add("-p", "--port", type=port, default=8080, help="for requests (default: %(default)s)")
    add("--no-tokens", action="store_true", help="requests need no token: for a network that only a proxy reaches")
    add("--certificate", type=Path, metavar="CERT.pem", help="answer by https, with this certificate and its --key")
    add("--key", type=Path, metavar="KEY.pem", help="the certificate's RSA key, in PKCS #8, without a password")
    add("--management-port", type=port, default=8081, metavar="PORT", help="on loopback (default: %(default)s)")
    add("--metrics-port", type=port, default=8082, metavar="PORT", help="(default: %(default)s)")
    add(
        "--metrics-host",
        type=_host,
        default="127.0.0.1",
        metavar="HOST",
        help="for Prometheus, without a token (default: %(default)s)",
    )
    add("--gateway", type=port, metavar="PORT", help="start tensormask-gateway, too (default: no gateway)")
    add_cors_origin_argument(parser, "of the gateway: ")
    add_label_studio_arguments(parser, "of the gateway: ")
    add(
        "--ts-config",
        type=Path,
        default=PROPERTIES,
        metavar="FILE",
        help="TorchServe's settings (default: our config.properties)",
    )
    add_timeout_arguments(parser, "server")
    add(
        "--memory",
        type=_memory,
        metavar="SIZE",
        help="memory for Java, without the workers, as 4g (default: half of the machine's; with --ts-config FILE what "
        "its vmargs say)",
    )
    add(
        "--logs",
        type=Path,
        metavar="DIR",
        help="for logs; DIR/PORT, with the management port, while another server uses DIR (default: logs)",
    )
    add_request_log_argument(parser, default="")
    add_archive_arguments(parser)
    return parser


def _check_gateway(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    if missing := missing_extra("gateway"):
        parser.error(f"--gateway: {missing}")
    if parsed.certificate:
        parser.error("--gateway and --certificate don't go together: the gateway speaks http; let a proxy do TLS")
    if parsed.gateway in (parsed.port, parsed.management_port, parsed.metrics_port):
        parser.error(f"--gateway is {parsed.gateway}, which is another port of the server; expected one of its own")
    try:
        label_studio_token(parsed)
    except TokenError as error:
        parser.error(str(error))


def _archived_options() -> dict[str, Any]:
    """The defaults of the options that an archive holds, by their names in the parsed arguments."""
    parser = argparse.ArgumentParser(add_help=False)
    add_archive_arguments(parser)
    return vars(parser.parse_args([]))


def _memory(text: str) -> int:
    try:
        size = memory_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if size < MIB:
        digits = text.strip().rstrip("kKbB")
        meant = f"{digits}g" if int(digits) < 1024 else f"{digits}m"
        raise argparse.ArgumentTypeError(
            f"{text!r} is a size of {size} bytes; expected a whole number with m or g (did you mean {meant}?)"
        )
    return size


def _host(text: str) -> str:
    if ":" in text or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a host for TorchServe; expected a name or IPv4 address")
    return text
