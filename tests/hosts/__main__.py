"""Three hosts behind HAProxy under load: one loses its power, one is stopped, one is added: make hosts"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos.load import Load, asking
from tests.chaos.serving import made_archive
from tests.hosts.network import Host, lay_switch
from tests.served.conftest import LAUNCHER, ROOT
from tests.waiting import wait_for

PROXY = ROOT / "deploy" / "haproxy.cfg"
URL = "http://10.0.0.1:8000/predictions/tensormask"
ADDRESSES = {f"host{number}": f"10.0.0.{10 + number}" for number in range(1, 5)}
CLIENTS = 6
NEEDED = ("ip", "haproxy")


def main() -> int:
    """Prints a row for each event; 1 where a response was wrong or a request stayed without one."""
    parser = argparse.ArgumentParser(prog="make hosts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of each row (default: %(default)s)")
    seconds = parser.parse_args().seconds
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} not found; on Debian: apt-get install haproxy iproute2")
    lay_switch()
    with made_archive(name="tensormask") as archive, ExitStack() as running:
        hosts = {name: Host(name, address) for name, address in ADDRESSES.items()}
        for host in hosts.values():
            running.callback(host.end)
        for name in ("host1", "host2", "host3"):
            serve(hosts[name], archive)
        running.enter_context(proxy(archive.parent / "haproxy.log"))
        wait_for(lambda: len(up()) == 3, "three hosts that HAProxy takes for well")
        load = running.enter_context(asking(URL, CLIENTS))
        print("| | requests | answered right | retried by the client | wrong | longest, s | responses of the hosts |")
        print("|---|---:|---:|---:|---:|---:|---|", flush=True)

        row("three hosts", load, seconds, lambda: None)
        row("one loses its power", load, seconds, hosts["host1"].lose_power)
        row("one is stopped by SIGTERM", load, seconds, hosts["host2"].stop)
        row("one is added", load, seconds, lambda: serve(hosts["host4"], archive))
        load.stop()
    print(f"{load.right} of {load.requests} answered right", file=sys.stderr)
    for text in set(load.without_response):
        print(f"  {text}", file=sys.stderr)
    return int(load.right != load.requests)


def row(name: str, load: Load, seconds: float, event: Callable[[], object]) -> None:
    """What became of the requests from the event on, for so long."""
    requests, right, retries, wrong = load.requests, load.right, load.retries.count, load.wrong
    count_before, before = len(load.answered_at), answered_by()
    event()
    time.sleep(seconds)
    longest = max((answered - sent for sent, answered in load.answered_at[count_before:]), default=float("nan"))
    shares = ", ".join(f"{host} {count - before[host]}" for host, count in answered_by().items())
    counts = (load.requests - requests, load.right - right, load.retries.count - retries, load.wrong - wrong)
    print(f"| {name} | {' | '.join(map(str, counts))} | {longest:.1f} | {shares} |", flush=True)


def serve(host: Host, archive: Path) -> None:
    """Returns when the host's server has said READY."""
    logs = archive.parent / f"logs-{host.name}"
    printed = host.start([LAUNCHER, "--archive", archive, "-h", "0.0.0.0", "--no-tokens", "--logs", logs])
    lines = []
    for line in printed:
        lines.append(line)
        if line.startswith("READY"):
            return
    raise RuntimeError(f"{host.name}'s server has ended:\n{''.join(lines)}")


@contextmanager
def proxy(log: Path) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(PROXY)], stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def statistics() -> dict[str, dict[str, str]]:
    """HAProxy's figures of each host."""
    with socket.create_connection(("127.0.0.1", 9999)) as connection:
        connection.sendall(b"show stat hosts 4 -1\n")
        lines = connection.makefile().read().strip().splitlines()
    names = lines[0].removeprefix("# ").split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    return {each["svname"]: each for each in rows}


def up() -> list[str]:
    try:
        return [name for name, each in statistics().items() if each["status"].startswith("UP")]
    except OSError:  # it isn't listening yet
        return []


def answered_by() -> dict[str, int]:
    return {name: int(each["hrsp_2xx"]) for name, each in statistics().items()}


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(main())
