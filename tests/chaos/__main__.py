"""What goes wrong, with real processes, and what it costs: make chaos"""

import io
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from tests.chaos.load import Load, asking
from tests.chaos.serving import CASE, made_archive, serving
from tests.served.conftest import ROOT, Server, request_body
from tests.waiting import PATIENCE, wait_for


def encoded(image: np.ndarray) -> bytes:
    """As PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


CLIENTS = 3
SOME = 10  # responses before and after a fault
BODY = request_body(CASE.image)
PNG = encoded(CASE.image)
HOLDERS = 100  # clients that hold the server's memory
HELD_SECONDS = 240  # in which each of them has to have a response


def main() -> int:
    """Prints a row for each fault; 1 where a response was wrong or a request stayed without one."""
    print("| fault | requests | answered right | 5xx | retried by the client | wrong responses | back after s |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    results = [fault() for fault in FAULTS]
    return int(not all(results))


def row(name: str, load: Load, fault: float, note: str = "") -> bool:
    back = load.back_after(fault)
    cells = (name, load.requests, load.right, load.retries.server_errors, load.retries.count, load.wrong)
    print(f"| {' | '.join(map(str, cells))} | {'never' if back is None else f'{back:.1f}'} |", flush=True)
    for text in {note, *load.without_response} - {""}:
        print(f"  {text}", file=sys.stderr)
    return load.right == load.requests and back is not None


def some_responses(load: Load) -> None:
    so_far = load.right
    wait_for(lambda: load.right >= so_far + SOME, f"{SOME} more right responses")


def worker(server: Server) -> psutil.Process:
    [pid] = server.worker_pids()
    return psutil.Process(pid)


def same_ports(server: Server) -> tuple[object, ...]:
    """Options for another server where this one was, with a gateway if this one had one."""
    if server.behind_gateway is None:
        return "-p", server.ports[0]
    return "-p", server.behind_gateway, "--gateway", server.ports[0]


def under_load(name: str, break_it: Callable[[Server], str], *options: object, clients: int = CLIENTS) -> bool:
    with made_archive(*options) as archive, serving(archive) as server, asking(server.url, clients) as load:
        some_responses(load)
        fault = time.monotonic()
        note = break_it(server)
        wait_for(lambda: load.back_after(fault) is not None, "a response after the fault")
        some_responses(load)
    return row(name, load, fault, note)


def worker_killed() -> bool:
    def kill(server: Server) -> str:
        worker(server).kill()
        return ""

    return under_load("kill -9 of the worker", kill)


def worker_hangs() -> bool:
    def hang(server: Server) -> str:
        worker(server).suspend()
        return ""

    return under_load("the worker hangs, --response-timeout 5", hang, "--response-timeout", 5)


def frontend_killed() -> bool:
    with made_archive() as archive:
        with serving(archive) as server:
            assert server.process is not None
            assert server.process.stdout is not None
            children = psutil.Process(server.process.pid).children(recursive=True)
            [frontend] = [each for each in children if "org.pytorch.serve.ModelServer" in each.cmdline()]
            with asking(server.url, CLIENTS) as load:
                some_responses(load)
                fault = time.monotonic()
                frontend.kill()
                status = server.process.wait()
                said = server.process.stdout.read().splitlines()[-1]
                left = psutil.wait_procs(children, timeout=PATIENCE)[1]
                with serving(archive, *same_ports(server)):
                    some_responses(load)
                    load.stop()
        note = f"exit status {status}: {said}; {len(left)} processes left"
        return row("the frontend killed, and started again", load, fault, note) and status == 1 and not left


def queue_full() -> bool:
    with made_archive() as archive:
        properties = archive.parent / "small.properties"
        shutil.copy(ROOT / "config.properties", properties)
        with properties.open("a") as file:
            file.write("\njob_queue_size=5\n")
        with serving(archive, "--ts-config", properties) as server, asking(server.url, 12) as load:
            fault = time.monotonic()
            wait_for(lambda: load.retries.server_errors > 0, "an error of the server")
            some_responses(load)
        return row("12 clients, job_queue_size=5", load, fault)


def clients_gone() -> bool:
    head = f"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()

    def go_away(server: Server) -> str:
        for number in range(30):
            with socket.create_connection(("127.0.0.1", server.ports[0])) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                gone.sendall(head + (BODY[:1000] if number % 3 == 0 else BODY))
                if number % 3 == 2:
                    gone.recv(9)
        return ""

    return under_load("30 clients gone: asking, waiting, reading", go_away)


def outcome(response: bytes) -> str:
    """The status of a response's beginning."""
    return response[9:12].decode() or "closed"


def large_bodies() -> bool:
    """Java has room for a quarter of them."""
    body = PNG + bytes((40 << 20) - len(PNG))  # what follows a PNG is left alone
    head = f"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def ask(server: Server) -> str:
        try:
            with socket.create_connection(("127.0.0.1", server.ports[0]), timeout=HELD_SECONDS) as connection:
                connection.sendall(head)
                connection.sendall(body)
                return outcome(connection.recv(12))
        except ConnectionError:
            return "closed"

    def ask_all(server: Server) -> list[str]:
        with ThreadPoolExecutor(HOLDERS) as pool:
            return [*pool.map(ask, [server] * HOLDERS)]

    return held_by_clients(f"{HOLDERS} bodies of 40 MiB at once, --memory 4g", ask_all)


def responses_unread() -> bool:
    noise = np.random.default_rng(0).integers(0, 256, (3900, 4100, 3), dtype=np.uint8)
    image = io.BytesIO()
    Image.fromarray(noise).save(image, "JPEG", quality=20)
    body = image.getvalue()
    head = f"POST /tiny/predict?format=png HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def ask_all(server: Server) -> list[str]:
        with ExitStack() as stack:
            readers = []
            outcomes = []
            for _ in range(
                HOLDERS
            ):  # each sends its request when the one before has got the first bytes of its response
                reader = stack.enter_context(socket.socket())
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.settimeout(HELD_SECONDS)
                try:
                    reader.connect(("127.0.0.1", server.ports[0]))
                    reader.sendall(head + body)
                    outcomes.append(outcome(reader.recv(12)))
                except ConnectionError:
                    outcomes.append("closed")
                readers.append(reader)
            return outcomes

    return held_by_clients(f"{HOLDERS} clients that don't read 40 MB each, --memory 4g", ask_all)


def held_by_clients(name: str, ask_all: Callable[[Server], list[str]]) -> bool:
    """Each has to get a response or to be refused, and the worker has to live."""
    with made_archive() as archive, serving(archive, "--memory", "4g") as server, asking(server.url, CLIENTS) as load:
        some_responses(load)
        before = worker(server)
        fault = time.monotonic()
        outcomes = Counter(ask_all(server))
        seconds = time.monotonic() - fault
        some_responses(load)
        is_same = worker(server) == before
    counts = ", ".join(f"{count} × {each}" for each, count in outcomes.most_common())
    note = f"after {seconds:.0f} s: {counts}; {'the same' if is_same else 'another'} worker"
    return row(name, load, fault, note) and is_same and outcomes.keys() <= {"200", *server.refusals}


def logs_full() -> bool:
    with made_archive() as archive, small_disk() as disk:
        with serving(archive, "--logs", disk) as server, asking(server.url, CLIENTS) as load:
            some_responses(load)
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
            for _ in range(3):
                some_responses(load)
            fault = time.monotonic()
            worker(server).kill()  # a new one logs most
            wait_for(lambda: load.back_after(fault) is not None, "a response after the fault")
            some_responses(load)
        return row("the logs' disk full, then kill -9", load, fault)


@contextmanager
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tensormask-disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def sigterm() -> bool:
    with made_archive() as archive:
        with serving(archive) as server, asking(server.url, CLIENTS) as load:
            assert server.process is not None
            some_responses(load)
            fault = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            status = server.process.wait()
            with serving(archive, *same_ports(server)):
                some_responses(load)
                load.stop()
        return row("SIGTERM, and started again", load, fault, f"exit status {status}") and status == 0


FAULTS = (
    worker_killed,
    worker_hangs,
    frontend_killed,
    queue_full,
    clients_gone,
    large_bodies,
    responses_unread,
    logs_full,
    sigterm,
)

if __name__ == "__main__":
    sys.exit(main())
