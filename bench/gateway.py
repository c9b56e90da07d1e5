"""Measures what the gateway adds to a request: python -m bench.gateway

The same request goes to TorchServe and through the gateway in turn, each on a connection that is kept, so that what
else the machine does falls on both.
"""

import argparse
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.making import make_archive
from tensormask_server.config_properties import PROPERTIES
from tensormask_server.torchserve.process import TorchServe
from tensormask_server.torchserve.properties import read_properties, with_addresses

from bench.around_the_network import jpeg_of
from bench.networks import DEMO, image_of
from bench.tables import Table

PORTS = (18480, 18481, 18482)
GATEWAY_PORT = 18483
START_SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the gateway.")
    parser.add_argument("--rounds", type=int, default=300, help="of each request (default: %(default)s)")
    measure(parser.parse_args().rounds).show()


def measure(rounds: int = 300) -> Table:
    table = Table(
        "gateway",
        "What the gateway adds",
        ("request", "TorchServe p50, ms", "through the gateway p50, ms", "median of the differences, ms"),
        f"the demo's network, one client, {rounds} requests each in turn; client and servers on the same cores",
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store = Path(folder)
        request = ArchiveRequest(DEMO / "config.yaml", DEMO / "weights.pkl", DEMO / "classes.txt", output=store)
        properties = with_addresses(read_properties(PROPERTIES), "127.0.0.1", *PORTS)
        server = stack.enter_context(TorchServe([make_archive(request)], properties, store / "logs"))
        server.wait_until_ready()
        words = ["-p", GATEWAY_PORT, "--upstream", server.url, "--management-port", PORTS[1], "--request-log", ""]
        gateway = subprocess.Popen([sys.executable, "-m", "tensormask_server.gateway", *map(str, words)])
        stack.callback(gateway.wait)
        stack.callback(gateway.terminate)
        connections = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)))
            for port in (PORTS[0], GATEWAY_PORT)
        ]
        _wait_for(connections[1])
        path = f"/{server.names[0]}/predict"
        for name, method, target, body, headers, count in (
            ("/ping", "GET", "/ping", None, {}, rounds),
            ("the page, by a worker", "GET", path, None, {"Accept": "text/html"}, rounds),
            ("JPEG of 256×256, COCO", "POST", path, jpeg_of(image_of(256, 256)), {}, rounds // 3),
        ):
            times = np.array(
                [[_milliseconds(each, method, target, body, headers) for each in connections] for _ in range(count)]
            )
            direct, through = np.median(times, axis=0).tolist()
            table.rows.append((name, direct, through, float(np.median(times[:, 1] - times[:, 0]))))
    return table


def _wait_for(connection: http.client.HTTPConnection) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            _milliseconds(connection, "GET", "/ping", None, {})
            return
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _milliseconds(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
) -> float:
    start = time.perf_counter()
    connection.request(method, target, body, dict(headers))
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {content[:200]!r}")
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
