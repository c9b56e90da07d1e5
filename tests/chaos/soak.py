"""Thousands of mixed requests at one server, and the memory of its worker meanwhile: make soak"""

import argparse
import io
import json
import sys
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import psutil
from PIL import Image
from tensormask_server.formats import FORMATS

from tests.chaos.serving import CASE, made_archive, serving
from tests.served.conftest import Server, request_body, send

WARM = 500  # requests, after which memory should have found its level
EACH = 250  # requests between two looks at the memory
ALLOWED = 0.03  # of growth since then
CLIENTS = 3
BAD = (b"", b"{", b"no image", b"\xff\xd8\xff\xe0 no JPEG", b'{"img_data": [[1, 2], [3]]}', b'{"img_data": "x"}')


@dataclass(frozen=True)
class Request:
    """A body with its headers, and the status that it should get."""

    body: bytes
    headers: dict[str, str]
    status: int


def mixed_request(number: int) -> Request:
    """Always the same for the same number: one in five is bad, one in five JSON's pixels, the others image files."""
    random = np.random.default_rng(number)
    variant = number % 5
    headers = {"Content-Type": "application/octet-stream", "Format": str(random.choice(list(FORMATS)))}
    if variant == 0:
        return Request(BAD[int(random.integers(len(BAD)))], headers, 400)
    width, height = (int(side) for side in random.integers(40, 640, 2))
    if variant == 1:
        image = Image.fromarray(CASE.image).resize((width // 3 + 1, height // 3 + 1))
        return Request(request_body(np.asarray(image)), {**headers, "Content-Type": "application/json"}, 200)
    content = io.BytesIO()
    Image.fromarray(CASE.image).resize((width, height)).save(content, ("JPEG", "PNG", "WEBP")[variant - 2])
    return Request(content.getvalue(), headers, 200)


def ask(server: Server, number: int) -> str:
    """What was wrong with the response; "" where nothing was."""
    request = mixed_request(number)
    response = send(urllib.request.Request(server.url, request.body, request.headers, method="POST"))
    if response.status != request.status:
        return f"{response.status} instead of {request.status}"
    if response.status == 400 and set(response.error()) != {"error", "expected"}:
        return "a 400 without a text"
    return ""


def resident(pid: int) -> float:
    """Megabytes."""
    return psutil.Process(pid).memory_info().rss / 1e6


def main() -> int:
    """Prints the memory every 250 requests; 1 where it grew by more than 3 % or a response was wrong."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=5000, help="(default: %(default)s)")
    count = parser.parse_args().requests
    wrong: Counter[str] = Counter()
    levels: dict[int, float] = {}
    with made_archive() as archive, serving(archive) as server, ThreadPoolExecutor(CLIENTS) as pool:
        [pid] = server.worker_pids()
        print("requests | worker's memory, MB", flush=True)
        for first in range(0, count, EACH):
            numbers = range(first, min(first + EACH, count))
            wrong.update(pool.map(lambda number: ask(server, number), numbers))
            levels[numbers.stop] = resident(pid)
            print(f"{numbers.stop:8} | {levels[numbers.stop]:.1f}", flush=True)
        same_worker = server.worker_pids() == [pid]
    growth = levels[count] / levels[min(WARM, count)] - 1
    print(f"grown by {growth:.1%} since request {min(WARM, count)}; {ALLOWED:.0%} are allowed")
    print(f"answered right: {wrong.pop('', 0)} of {count}; wrong: {json.dumps(wrong)}")
    if not same_worker:
        print("the worker was started anew meanwhile")
    return int(growth > ALLOWED or bool(wrong) or not same_worker)


if __name__ == "__main__":
    sys.exit(main())
