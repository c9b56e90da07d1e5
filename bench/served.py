"""Measures images per second and waiting times of a real TorchServe: python -m bench.served

It has the demo's network. Requests are JPEGs, and responses are in the format coco. Each client sends its next request
when it has the response to the last one.
"""

import argparse
import http.client
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.making import make_archive
from tensormask_server.config_properties import PROPERTIES
from tensormask_server.torchserve.process import TorchServe
from tensormask_server.torchserve.properties import read_properties, with_addresses

from bench.around_the_network import jpeg_of
from bench.networks import DEMO, image_of
from bench.tables import Table

SIDES = (256, 512, 1024)
CLIENTS = (1, 4, 16)
WORKERS = (1, 2)
PORTS = (18480, 18481, 18482)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times a real server at work.")
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement (default: %(default)s)")
    measure(parser.parse_args().seconds).show()


def measure(seconds: float = 6) -> Table:
    table = Table(
        "served",
        "A real TorchServe at work",
        (
            "workers",
            "clients",
            "pixels",
            "images/s",
            "p50, ms",
            "p95, ms",
            "p99, ms",
            "of p50 not in the handler, ms",
        ),
        f"the demo's network, JPEG in, COCO out, {seconds:g} s each; clients and server on the same cores",
    )
    for workers in WORKERS:
        with serving(workers) as server:
            for clients in CLIENTS:
                for side in SIDES:
                    jpeg = jpeg_of(image_of(side, side))
                    table.rows.append((workers, clients, f"{side}×{side}", *rates(server, jpeg, clients, seconds)))
    return table


@contextmanager
def serving(workers: int) -> Iterator[TorchServe]:
    """A server of the demo's network that is ready."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        request = ArchiveRequest(
            DEMO / "config.yaml", DEMO / "weights.pkl", DEMO / "classes.txt", output=store, workers=workers
        )
        properties = with_addresses(read_properties(PROPERTIES), "127.0.0.1", *PORTS)
        with TorchServe([make_archive(request)], properties, store / "logs") as server:
            server.wait_until_ready()
            yield server


def outside_the_handler(server: TorchServe, body: bytes, headers: Mapping[str, str]) -> float:
    """Milliseconds of one request that aren't the handler's."""
    url = urlsplit(f"{server.url}/predictions/{server.names[0]}")
    assert url.hostname is not None
    with closing(http.client.HTTPConnection(url.hostname, url.port, timeout=120)) as connection:
        return _timed_request(connection, url.path, body, headers)[1]


def _timed_request(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[float, float]:
    """Milliseconds of a request, and those of them that aren't the handler's."""
    start = time.perf_counter()
    connection.request("POST", path, body, dict(headers))
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {content[:200]!r}")
    whole = 1000 * (time.perf_counter() - start)
    handler = sum(float(part) for part in re.findall(r"dur=([\d.]+)", response.headers["Server-Timing"]))
    return whole, whole - handler


def rates(server: TorchServe, jpeg: bytes, clients: int, seconds: float) -> tuple[float, ...]:
    """Measures requests of several clients.

    Returns:
        Images per second; the 50th, 95th and 99th percentile of a request's milliseconds; and the median of the
        milliseconds outside the handler.
    """
    url = urlsplit(f"{server.url}/predictions/{server.names[0]}")
    end = time.monotonic() + seconds

    def send_requests() -> list[tuple[float, float]]:
        waited = []
        assert url.hostname is not None
        with closing(http.client.HTTPConnection(url.hostname, url.port, timeout=120)) as connection:
            while time.monotonic() < end:
                waited.append(_timed_request(connection, url.path, jpeg, {"Content-Type": "image/jpeg"}))
        return waited

    started = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(send_requests) for _ in range(clients)]
        times = np.array([each for future in futures for each in future.result()])
    rate = len(times) / (time.monotonic() - started)
    return (rate, *np.quantile(times[:, 0], (0.5, 0.95, 0.99)).tolist(), float(np.median(times[:, 1])))


if __name__ == "__main__":
    main()
