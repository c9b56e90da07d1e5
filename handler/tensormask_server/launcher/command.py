"""The tensormask-server command: from an archive, or a configuration and weights, to a server that answers."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from tensormask_server.archive.errors import ArchiveError
from tensormask_server.config_properties import PROPERTIES
from tensormask_server.launcher.archives import made_archives
from tensormask_server.launcher.arguments import server_arguments
from tensormask_server.launcher.gateway_process import GatewayOptions, gateway_arguments, running_gateway
from tensormask_server.launcher.memory import planned_memory
from tensormask_server.models.arguments import list_of_models
from tensormask_server.models.errors import ModelError
from tensormask_server.printable import give_up_unprinted, one_line, printable, say
from tensormask_server.torchserve.addresses import GATEWAY, AddressError, check_port
from tensormask_server.torchserve.certificate import with_certificate
from tensormask_server.torchserve.guard import guarded
from tensormask_server.torchserve.guard_limits import guard_limits, raise_file_limit
from tensormask_server.torchserve.java import JavaNotFound
from tensormask_server.torchserve.memory_sizes import machine_memory
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
    parsed = server_arguments(arguments)
    if parsed.list_models:
        for line in list_of_models():
            say(line)
        return 0
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


if __name__ == "__main__":
    sys.exit(main())
