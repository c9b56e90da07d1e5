"""Reports whether the server on this machine is ready: for Docker's HEALTHCHECK, Kubernetes' probes and scripts.

    python -m tensormask_server.health

exits with 0 if every model has a READY worker. Otherwise it exits with 1, and names a model that has none. It reads the
management API, because TorchServe's /ping says Healthy even without workers. It imports little, so it can run often.
"""

import argparse
import http.client
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tensormask_server.exchange import Limits, TooManyBytes, exchange
from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.regular_files import read_text
from tensormask_server.torchserve.private_folder import key_file_of

TIMEOUT = 4  # seconds for all responses together: less than the probes allow
LARGEST_RESPONSE = 1 << 20  # bytes


class NotReady(Exception):
    """The server isn't ready. The message says why in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tensormask_server.health",
        description="Exits with 0 if the server on this machine has a READY worker for each model, otherwise with 1.",
    )
    parser.add_argument("--management-port", type=int, default=8081, metavar="PORT", help="(default: %(default)s)")
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="TorchServe's key_file.json, for a server that requires tokens (default: this user's tensormask-server's)",
    )
    parsed = parser.parse_args(arguments)
    try:
        workers = ready_workers(parsed.management_port, parsed.key_file)
    except NotReady as error:
        print(f"not ready: {one_line(error)}", file=sys.stderr)
        return 1
    print("ready: " + ", ".join(f"{printable(name)} ({count} workers)" for name, count in workers.items()))
    return 0


def ready_workers(management_port: int, key_file: Path | None = None) -> dict[str, int]:
    """Counts the READY workers of each model.

    Args:
        management_port: of TorchServe's management API on this machine.
        key_file: TorchServe's key_file.json, which may be absent. None: the one of this user's tensormask-server.

    Returns:
        From each model's name to the number of its READY workers, which is at least one. There is at least one model.

    Raises:
        NotReady: a model has no READY worker, there is no model, or the management API doesn't respond.
    """
    headers = _headers(key_file or key_file_of(management_port))
    end = time.monotonic() + TIMEOUT
    try:
        models = _get(management_port, "/models", headers, end)["models"]
        if not models:
            raise NotReady("no model is loaded")
        ready = {}
        for name in (str(model["modelName"]) for model in models):
            described = _get(management_port, f"/models/{quote(name, safe='')}", headers, end)
            states = [str(worker["status"]) for worker in described[0]["workers"]]
            ready[name] = states.count("READY")
            if not ready[name]:
                shown = printable(", ".join(states) or "none at all")
                raise NotReady(f"{printable(name)} has no READY worker, but {shown}")
        return ready
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise NotReady(
            f"the server on port {management_port} is not TorchServe's management API; expected the port of "
            "--management-port"
        ) from error


def _headers(key_file: Path) -> dict[str, bytes]:
    try:
        return {"Authorization": b"Bearer " + json.loads(read_text(key_file))["management"]["key"].encode()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # most servers require no token, and the others report that it is absent


def _get(port: int, path: str, headers: dict[str, bytes], end: float) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.connect()
        response = exchange(connection, "GET", path, b"", headers, Limits(TIMEOUT, end, LARGEST_RESPONSE))
    except (OSError, http.client.HTTPException, TooManyBytes) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise NotReady(f"the management API on port {port} doesn't respond: {one_line(reason, 300)}") from error
    finally:
        connection.close()
    content = response.body
    if b"InvalidKeyException" in content:
        held = "that key isn't valid, or is older than 60 minutes" if headers else "there is none"
        raise NotReady(
            f'the management API on port {port} requires a token, the "management" key of the key_file.json that the '
            f"server named when it started: {held}; name that file by --key-file"
        )
    if response.status != 200:
        raise NotReady(f"the management API on port {port} responds with {response.status}: {quoted(content[:1000])}")
    return json.loads(content)


if __name__ == "__main__":
    sys.exit(main())
