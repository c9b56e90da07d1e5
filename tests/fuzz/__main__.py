"""The long run: thousands of requests to the parser, and then through a torchserve. `make fuzz` calls it."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.making import make_archive
from tensormask_server.options import HandlerOptions

from reference.cases import load_case, write_weights
from tests.fuzz import bodies, promise, wire
from tests.fuzz.bodies import Sent
from tests.fuzz.large_bodies import LARGE_BODIES
from tests.served.conftest import Server, launched

LIMIT_OF_GROWTH = 64 * 2**20  # bytes that a worker may keep; the largest request has half of it
PATIENCE = 5  # seconds, for requests of which a server may be waiting for the rest


class Table:
    """How many requests of each kind got which status, and how long the slowest took."""

    def __init__(self) -> None:
        self.statuses: dict[str, Counter[str]] = defaultdict(Counter)
        self.slowest: dict[str, float] = defaultdict(float)

    def add(self, kind: str, attempt: Callable[[], str]) -> None:
        start = time.perf_counter()
        status = attempt()
        self.slowest[kind] = max(self.slowest[kind], time.perf_counter() - start)
        self.statuses[kind][status] += 1

    def show(self, title: str) -> None:
        names = sorted({status for counts in self.statuses.values() for status in counts})
        print(f"\n{title:28}{''.join(f'{name:>16}' for name in names)}{'slowest, s':>12}")
        for kind, counts in self.statuses.items():
            print(f"{kind:28}{''.join(f'{counts[name]:16}' for name in names)}{self.slowest[kind]:12.2f}")
        total: Counter[str] = sum(self.statuses.values(), Counter())
        print(f"{f'all {total.total()}':28}{''.join(f'{total[name]:16}' for name in names)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Bad requests by the thousands.")
    parser.add_argument("--bodies", type=int, default=20_000, help="for the parser alone (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=2_000, help="through a torchserve (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="(default: another each time)")
    parsed = parser.parse_args()
    print(f"seed {parsed.seed}; libtiff's warnings on stderr are of damaged images")
    try_parser(parsed.bodies, parsed.seed)
    with tempfile.TemporaryDirectory(prefix="tensormask-fuzz-") as folder:
        try_server(Path(folder), parsed.requests, parsed.seed)
    return 0


def generated(number: int, start: int, attempt: Callable[[Sent], None]) -> None:
    """Calls `attempt` with as many requests of each kind; of one that raises a small variant is printed."""
    for kind in bodies.KINDS.values():

        @seed(start)
        @settings(
            max_examples=-(-number // len(bodies.KINDS)),
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(sent=kind)
        def run(sent: Sent) -> None:
            attempt(sent)

        run()


def try_parser(number: int, start: int) -> None:
    process = psutil.Process()
    table = Table()
    for name, make in LARGE_BODIES.items():
        sent = Sent(f"  {name}", make())
        table.add(sent.kind, lambda sent=sent: promise.parsed(sent))
    before = process.memory_info().rss
    generated(number, start, lambda sent: table.add(sent.kind, lambda: promise.parsed(sent)))
    table.show("the parser alone")
    after = process.memory_info().rss
    print(f"resident memory, MiB: {mebibytes(before)} after the large ones, {mebibytes(after)} at last")


def try_server(folder: Path, number: int, start: int) -> None:
    """
    Raises:
        AssertionError: a worker was replaced, or keeps much more memory than before.
    """
    case = load_case("tiny")
    limits = HandlerOptions(score_threshold=0.1)
    config = folder / "small.yaml"  # the network isn't what is tried
    config.write_text(f"_BASE_: {case.config}\nINPUT: {{MIN_SIZE_TEST: 32, MAX_SIZE_TEST: 64}}\n")
    request = ArchiveRequest(config, write_weights(case, folder / "tiny.pkl"), output=folder, options=limits)
    archive = make_archive(request)
    with launched(folder, "--archive", archive, PATH="") as server:
        pids = server.worker_pids()
        worker = psutil.Process(pids[0])
        table = Table()
        levels = [worker.memory_info().rss]
        try_large(server, table)
        levels.append(worker.memory_info().rss)
        generated(number, start, lambda sent: table.add(sent.kind, lambda: promise.outcome(server, sent)))
        levels.append(worker.memory_info().rss)
        try_large(server, table)
        levels.append(worker.memory_info().rss)
        for name, make in wire.REQUESTS.items():
            raw = make().replace(b"MODEL", server.name.encode())
            table.add(f"  {name}", lambda raw=raw: promise.exchanged(server, raw, PATIENCE))
            assert promise.outcome(server, Sent("", b"{}")) == "400", f"after {name}"
        table.show("through torchserve")
        moments = ("at the start", "after the large ones", "after the others", "after the large ones again")
        sizes = (f"{mebibytes(level)} {moment}" for level, moment in zip(levels, moments, strict=True))
        print(f"resident memory of the worker, MiB: {', '.join(sizes)}")
        print(f"worker pid before {pids}, after {server.worker_pids()}")
        assert server.worker_pids() == pids
        assert levels[-1] < levels[1] + LIMIT_OF_GROWTH


def mebibytes(number: int) -> str:
    return f"{number / 2**20:.0f}"


def try_large(server: Server, table: Table) -> None:
    for name, make in LARGE_BODIES.items():
        sent = Sent(f"  {name}", make(), "application/octet-stream")
        table.add(sent.kind, lambda sent=sent: promise.outcome(server, sent))


if __name__ == "__main__":
    sys.exit(main())
