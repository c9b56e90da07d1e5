"""The gateway of `tensormask-server --gateway PORT`: a process of its own, which ends with the launcher."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensormask_server import tied
from tensormask_server.torchserve.addresses import port_of
from tensormask_server.torchserve.guard_limits import GuardLimits
from tensormask_server.torchserve.process import TorchServe, TorchServeError
from tensormask_server.torchserve.properties import DEFAULT_SIZE, number_property

MARGIN_SECONDS = 60  # by which the gateway waits longer than the server behind
LEAST_CONNECTIONS = 100


@dataclass(frozen=True)
class GatewayOptions:
    """What the launcher's command says about the gateway."""

    host: str
    port: int
    origins: Sequence[str]
    idle_timeout: int  # seconds
    stop_timeout: int  # seconds
    request_log: str
    label_studio: str | None = None
    label_studio_token_file: Path | None = None


def gateway_arguments(options: GatewayOptions, server: TorchServe, limits: GuardLimits) -> list[str]:
    """The arguments of tensormask-gateway for a server.

    Args:
        options: of the launcher's command.
        server: a running one.
        limits: of its connections.
    """
    numbers = {
        "--port": options.port,
        "--management-port": port_of(server.properties["management_address"]),
        "--max-request-size": number_property(server.properties, "max_request_size", DEFAULT_SIZE),
        # one more than the server's queue holds gets the server's own 503
        "--connections": max(LEAST_CONNECTIONS, 2 * limits.in_hand),
        "--idle-timeout": options.idle_timeout,
        "--response-timeout": int(limits.response_seconds) + MARGIN_SECONDS,
        "--stop-timeout": options.stop_timeout,
    }
    words = ["--host", options.host, "--upstream", server.local_url, "--request-log", options.request_log]
    words += [word for name, value in numbers.items() for word in (name, str(value))]
    words += [word for origin in options.origins for word in ("--cors-origin", origin)]
    if options.label_studio:
        words += ["--label-studio", options.label_studio]
    if options.label_studio_token_file is not None:
        words += ["--label-studio-token-file", str(options.label_studio_token_file)]
    return [*words, "--key-file", str(server.key_file)] if server.has_tokens else words


class GatewayProcess:
    """A running gateway, or none."""

    def __init__(self, process: subprocess.Popen[bytes] | None):
        self._process = process

    def check(self) -> None:
        """
        Raises:
            TorchServeError: it has ended.
        """
        if self._process is not None and self._process.poll() is not None:
            raise TorchServeError(f"the gateway has ended, with status {self._process.returncode}; it printed why")

    def finish(self) -> None:
        """Ends it. It answers the requests in hand first."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@contextlib.contextmanager
def running_gateway(arguments: Sequence[str] | None) -> Iterator[GatewayProcess]:
    """Starts a gateway, and ends it afterwards.

    Args:
        arguments: of tensormask-gateway. None: there is no gateway.
    """
    if arguments is None:
        yield GatewayProcess(None)
        return
    command = [*(sys.executable, "-I", tied.__file__, str(os.getpid()))]
    command += [sys.executable, "-P", "-m", "tensormask_server.gateway", *arguments]
    # a process group of its own: Ctrl-C reaches only us
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield GatewayProcess(process)
    finally:
        process.kill()
        process.wait()
