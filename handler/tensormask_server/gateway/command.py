"""The tensormask-gateway command: a front door for a running server."""

import argparse
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from tensormask_server.arguments import parsed_arguments
from tensormask_server.gateway.application import application
from tensormask_server.gateway.arguments import gateway_parser
from tensormask_server.gateway.protocol import BoundedProtocol, Bounds
from tensormask_server.gateway.settings import Settings
from tensormask_server.label_studio_arguments import label_studio_token
from tensormask_server.printable import give_up_unprinted, one_line, printable, say
from tensormask_server.request_log import check_log_file
from tensormask_server.tokens import TokenError
from tensormask_server.torchserve.guard_limits import connection_limit, raise_file_limit

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BACKLOG = 2048  # connections that wait to be accepted
KEPT_SECONDS = 30  # for which a client's connection is kept without a request


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the gateway until Ctrl-C or SIGTERM.

    Args:
        arguments: of the command; None for the process's own.

    Returns:
        The command's exit status: 0 after Ctrl-C or SIGTERM, 1 on a failure. Wrong arguments end the process with 2.
    """
    parser = gateway_parser()
    parsed = parsed_arguments(parser, arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        token = label_studio_token(parsed)
    except TokenError as error:
        parser.error(str(error))
    try:
        if parsed.request_log not in ("", "-"):
            check_log_file(Path(parsed.request_log))
        with _listening(parsed.host, parsed.port) as listening:
            return _serve(listening, parsed, token)
    except OSError as error:
        say(f"tensormask-gateway: {one_line(error.strerror or error)}", sys.stderr)
        return 1
    finally:
        give_up_unprinted()


class _Stopped(BaseException):
    """A signal has asked this process to stop."""


def _serve(listening: socket.socket, parsed: argparse.Namespace, token: str) -> int:
    settings = Settings(
        upstream=parsed.upstream.rstrip("/"),
        management_port=parsed.management_port,
        key_file=parsed.key_file,
        origins=tuple(parsed.cors_origin),
        max_body_bytes=parsed.max_request_size,
        connections=parsed.connections,
        idle_seconds=parsed.idle_timeout,
        response_seconds=parsed.response_timeout,
        request_log=parsed.request_log,
        label_studio=parsed.label_studio or "",
        label_studio_token=token,
    )
    bounds = Bounds(settings.idle_seconds, connection_limit(raise_file_limit()))
    url = f"http://{parsed.host}:{parsed.port}"

    def say_state(reason: str) -> None:
        if reason:
            say(f"waiting for the server at {printable(settings.upstream)}: {printable(reason)}", sys.stderr)
            return
        say(f"READY  {url}  (for the server at {printable(settings.upstream)}; Ctrl-C stops)")
        say(f"Docs:  {url}/docs")

    config = uvicorn.Config(
        application(settings, say_state),
        http=partial(BoundedProtocol, bounds),  # type: ignore[arg-type]  # uvicorn only calls it
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        log_level=logging.CRITICAL,  # each failed request has its line in our own log
        access_log=False,
        server_header=False,
        timeout_keep_alive=min(KEPT_SECONDS, parsed.idle_timeout),
        timeout_graceful_shutdown=parsed.stop_timeout,
    )
    for number in SIGNALS:
        signal.signal(number, _stop)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except _Stopped:  # uvicorn sends itself the signal again when its requests have ended
        say("stopped")
        return 0
    return 1


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"can't listen on {printable(host)}:{port}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
