"""Whether the server on this machine can answer: for Docker's HEALTHCHECK, Kubernetes' probes and scripts.

    python -m tensormask_server.health

exits with 0 where every model has a worker that is READY, else with 1, and says which has none. It asks the management
API, since TorchServe's /ping says Healthy without any worker, and imports little, so that it can be asked often.
"""

import argparse
import http.client
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.private_folder import key_file_of
from tensormask_server.regular_files import read_text

TIMEOUT = 4  # seconds for each answer: less than the probes allow


class NotReady(Exception):
    """No answer is to be expected from this server now, and why, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tensormask_server.health",
        description="Exits with 0 where the server on this machine has a READY worker for each model, else with 1.",
    )
    parser.add_argument("--management-port", type=int, default=8081, metavar="PORT", help="(default: %(default)s)")
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="TorchServe's tokens, where it wants them (default: where tensormask-server of this user has put them)",
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
    """How many workers of each model are READY: at least one, of at least one model.

    Args:
        key_file: has the token of a server that wants one; may be absent. None: where tensormask-server puts it.

    Raises:
        NotReady: a model has none, there is no model, or the management API doesn't say.
    """
    headers = _headers(key_file or key_file_of(management_port))
    models = _asked(management_port, "/models", headers)["models"]
    if not models:
        raise NotReady("no model is loaded")
    found = {}
    for name in (model["modelName"] for model in models):
        states = [worker["status"] for worker in _asked(management_port, f"/models/{name}", headers)[0]["workers"]]
        found[name] = states.count("READY")
        if not found[name]:
            raise NotReady(
                f"{printable(name)} has no READY worker, but {printable(', '.join(map(str, states)) or 'none at all')}"
            )
    return found


def _headers(key_file: Path) -> dict[str, str]:
    try:
        return {"Authorization": f"Bearer {json.loads(read_text(key_file))['management']['key']}"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # most servers want none, and one that does says so


def _asked(port: int, path: str, headers: dict[str, str]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"the management API on port {port} doesn't answer: {one_line(error, 300)}") from error
    finally:
        connection.close()
    if b"InvalidKeyException" in content:
        held = "that one isn't good, or is older than 60 minutes" if headers else "there is none"
        raise NotReady(
            f'the management API on port {port} wants a token, the "management" key of the key_file.json that the '
            f"server has named at its start: {held}; name that file by --key-file"
        )
    if response.status != 200:
        raise NotReady(f"the management API on port {port} answers {response.status}: {quoted(content[:1000])}")
    return json.loads(content)


if __name__ == "__main__":
    sys.exit(main())
