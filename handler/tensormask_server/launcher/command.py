"""The tensormask-server command: from an archive, or a configuration and weights, to a server that answers."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tensormask_server import __version__
from tensormask_server.archive.arguments import add_archive_arguments
from tensormask_server.archive.errors import ArchiveError
from tensormask_server.arguments import origin, parsed_arguments, port, whole_number
from tensormask_server.config_properties import PROPERTIES
from tensormask_server.extras import missing_extra
from tensormask_server.label_studio_arguments import add_label_studio_arguments, label_studio_token
from tensormask_server.launcher.archives import made_archives
from tensormask_server.launcher.gateway_process import GatewayOptions, gateway_arguments, running_gateway
from tensormask_server.launcher.memory import planned_memory
from tensormask_server.models.arguments import EXPECTED, is_complete, list_of_models
from tensormask_server.models.errors import ModelError
from tensormask_server.printable import give_up_unprinted, one_line, printable, say
from tensormask_server.tokens import TokenError
from tensormask_server.torchserve.addresses import GATEWAY, AddressError, check_port
from tensormask_server.torchserve.certificate import with_certificate
from tensormask_server.torchserve.guard import guarded
from tensormask_server.torchserve.guard_limits import guard_limits, raise_file_limit
from tensormask_server.torchserve.java import JavaNotFound
from tensormask_server.torchserve.java_memory import MIB
from tensormask_server.torchserve.memory_sizes import machine_memory, memory_size
from tensormask_server.torchserve.process import TorchServe, TorchServeError
from tensormask_server.torchserve.properties import PropertiesError, is_loopback, read_properties, with_addresses
from tensormask_server.torchserve.served_archive import served_model

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal has asked this process to stop."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until Ctrl-C or SIGTERM.

    Args:
        arguments: of the command; None for the process's own.

    Returns:
        The command's exit status: 0 after Ctrl-C or SIGTERM, 1 on a failure, 2 on wrong arguments or files.
    """
    parser = _parser()
    parsed = parsed_arguments(parser, arguments)
    if parsed.list_models:
        for line in list_of_models():
            say(line)
        return 0
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
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(number, _stop)
    try:
        say("starting; READY follows when the server answers (Ctrl-C stops)")
        with tempfile.TemporaryDirectory(prefix="tensormask-server-") as output:
            parsed.output = Path(output)
            _serve(parsed.archives or made_archives(parsed), parsed)
    except _Stopped:
        say("stopped")
        return 0
    except (TorchServeError, PropertiesError, JavaNotFound) as error:
        say(f"tensormask-server: {one_line(error)}", sys.stderr)
        return 1
    except (ArchiveError, ModelError) as error:
        say(f"tensormask-server: {one_line(error)}", sys.stderr)
        return 2
    finally:
        give_up_unprinted()
    return 1  # never reached: `_serve` ends only by an exception


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


def _serve(archives: Sequence[Path], parsed: argparse.Namespace) -> None:
    """Serves archives until an exception ends it.

    Raises:
        _Stopped: a signal has asked for it. The requests in hand have their responses.
        TorchServeError, PropertiesError, JavaNotFound: the server can't start, or it has ended by itself.
    """
    ports = (parsed.port, parsed.management_port, parsed.metrics_port)
    properties = read_properties(parsed.ts_config)
    if parsed.certificate:
        properties = with_certificate(properties, parsed.certificate, parsed.key)
    properties = with_addresses(
        properties, parsed.host, *ports, metrics_host=parsed.metrics_host, has_tokens=not parsed.no_tokens
    )
    if parsed.memory and parsed.memory > machine_memory():
        found, there = parsed.memory >> 20, machine_memory() >> 20
        raise PropertiesError(f"--memory is {found} MiB; expected at most the {there} MiB of this machine")
    models = [served_model(archive) for archive in archives]
    is_ours = parsed.ts_config == PROPERTIES
    memory = planned_memory(properties, archives, models, parsed.memory, is_ours=is_ours)
    if memory.note:
        say(memory.note)
    if parsed.gateway:
        _check_gateway_address(properties, parsed)
    files = raise_file_limit()
    with TorchServe(archives, memory.properties, parsed.logs, parsed.request_log) as server:
        server.wait_until_ready()
        limits = guard_limits(memory, models, parsed.idle_timeout, files)
        with guarded(server.frontend, parsed.port, parsed.metrics_port, limits):
            _print_ready(server, parsed.host, parsed.gateway)
            arguments = gateway_arguments(_gateway_options(parsed), server, limits) if parsed.gateway else None
            with running_gateway(arguments) as gateway:
                try:
                    server.wait(gateway.check)
                except _Stopped:
                    gateway.finish()
                    server.finish(parsed.stop_timeout)
                    raise


def _check_gateway_address(properties: Mapping[str, str], parsed: argparse.Namespace) -> None:
    """
    Raises:
        PropertiesError: the server speaks https, which the gateway doesn't.
        TorchServeError: the gateway can't listen.
    """
    if properties["inference_address"].startswith("https:"):
        raise PropertiesError("--gateway needs a server that speaks http; let a proxy in front do TLS")
    try:
        check_port(GATEWAY, f"http://{parsed.host}:{parsed.gateway}")
    except AddressError as error:
        raise TorchServeError(str(error)) from error


def _gateway_options(parsed: argparse.Namespace) -> GatewayOptions:
    return GatewayOptions(
        host=parsed.host,
        port=parsed.gateway,
        origins=parsed.cors_origin,
        idle_timeout=parsed.idle_timeout,
        stop_timeout=parsed.stop_timeout,
        request_log=parsed.request_log,
        label_studio=parsed.label_studio,
        label_studio_token_file=parsed.label_studio_token_file,
    )


def _print_ready(server: TorchServe, host: str, gateway: int | None) -> None:
    url, *others = (f"{server.local_url}/{name}/predict" for name in server.names)
    trusted = f"--cacert {server.certificate} " if server.certificate else ""
    token = "-H @token.header " if server.has_tokens else ""
    say(f"READY  {url}  (logs in {printable(server.log_dir)}; Ctrl-C stops)")
    for other in others:
        say(f"       {other}")
    curl = f"curl --fail-with-body {trusted}{token}-T IMAGE.jpg"
    page, segment = url, f"{url}?format=png"
    if gateway:  # it says itself when it is ready, a moment later
        page = f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{gateway}/"
        segment = f"{page}v1/segment?format=png" + (f"&model={server.names[0]}" if others else "")
    say(f"Try:   {curl} -o masks.png '{segment}'")
    if token:
        say('       where the file token.header holds "Authorization: Bearer KEY", with the "inference" key of')
        say(f"       {printable(server.key_file)}")
        if server.url.startswith("http:") and not is_loopback(host):
            say("Note:  tokens and images cross the network in clear text; --certificate and --key encrypt them")
    else:
        say(f"       or open {page} in a browser")
    for warning in server.slow_precisions:
        say(f"Slow:  {warning}")
    for hint in server.faster_precisions:
        say(f"Hint:  {hint}")


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in SIGNALS:  # a second signal must not interrupt the stopping
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped


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


def _archived_options() -> dict[str, Any]:
    """The defaults of the options that an archive holds, by their names in the parsed arguments."""
    parser = argparse.ArgumentParser(add_help=False)
    add_archive_arguments(parser)
    return vars(parser.parse_args([]))


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
    add(
        "--cors-origin",
        type=origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="of the gateway: pages of this origin may read responses; may be given several times",
    )
    add_label_studio_arguments(parser, "of the gateway: ")
    add(
        "--ts-config",
        type=Path,
        default=PROPERTIES,
        metavar="FILE",
        help="TorchServe's settings (default: our config.properties)",
    )
    add(
        "--stop-timeout",
        type=whole_number(0, "seconds"),
        default=30,
        metavar="S",
        help="seconds in which requests in hand are answered when the server is stopped (default: %(default)s)",
    )
    add(
        "--idle-timeout",
        type=whole_number(1, "seconds"),
        default=60,
        metavar="S",
        help="seconds after which a connection without traffic is closed (default: %(default)s)",
    )
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
        default=Path("logs"),
        metavar="DIR",
        help="for logs; DIR/PORT, with the management port, while another server uses DIR (default: %(default)s)",
    )
    add(
        "--request-log",
        default="",
        metavar="FILE",
        help="append a line of JSON for each request; - for stdout (default: no such log)",
    )
    add_archive_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
