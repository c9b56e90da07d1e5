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
from typing import Any

TIMEOUT = 4  # seconds for each answer: less than the probes allow


class NotReady(Exception):
    """No answer is to be expected from this server now, and why, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tensormask_server.health",
        description="Exits with 0 where the server on this machine has a READY worker for each model, else with 1.",
    )
    parser.add_argument("--management-port", type=int, default=8081, metavar="PORT", help="(default: %(default)s)")
    port = parser.parse_args(arguments).management_port
    try:
        workers = ready_workers(port)
    except NotReady as error:
        print(f"not ready: {error}", file=sys.stderr)
        return 1
    print("ready: " + ", ".join(f"{name} ({count} workers)" for name, count in workers.items()))
    return 0


def ready_workers(management_port: int) -> dict[str, int]:
    """How many workers of each model are READY: at least one, of at least one model.

    Raises:
        NotReady: a model has none, there is no model, or the management API doesn't say.
    """
    models = _asked(management_port, "/models")["models"]
    if not models:
        raise NotReady("no model is loaded")
    found = {}
    for name in (model["modelName"] for model in models):
        states = [worker["status"] for worker in _asked(management_port, f"/models/{name}")[0]["workers"]]
        found[name] = states.count("READY")
        if not found[name]:
            raise NotReady(f"{name} has no READY worker, but {', '.join(states) or 'none at all'}")
    return found


def _asked(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"the management API on port {port} doesn't answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:  # with tokens on it asks for one
        raise NotReady(f"the management API on port {port} answers {response.status}: {content.decode()!r}")
    return json.loads(content)


if __name__ == "__main__":
    sys.exit(main())
