"""nginx and HAProxy with the files of deploy/, in front of a real server, and raw HTTP through them."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from tests.served.conftest import ROOT, Server, free_ports
from tests.waiting import PATIENCE, wait_for

DEPLOY = ROOT / "deploy"
PROGRAMS = ("nginx", "haproxy")
PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has both


def program(name: str) -> str | None:
    """The path of nginx or haproxy; None where it isn't installed."""
    return shutil.which(name, path=PATH)


@dataclass(frozen=True)
class Response:
    """An HTTP response, read to its last byte."""

    status: int
    head: bytes
    body: bytes


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    program_name: str
    port: int
    server: Server
    log: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def exchange(self, raw: bytes) -> list[Response]:
        """Sends bytes as they are and reads responses until the proxy closes, which it does when it is idle."""
        with self.connect() as connection:
            with suppress(OSError):  # it has closed already
                connection.sendall(raw)
            return responses(connection)

    def server_connections(self) -> int:
        """Open connections from the proxy to the server, as the kernel lists them."""
        port = self.server.ports[0]
        return sum(
            bool(each.raddr) and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
            for each in psutil.net_connections("inet")
        )


def responses(connection: socket.socket, count: int | None = None) -> list[Response]:
    """Reads so many responses, or until the other end closes."""
    stream = connection.makefile("rb")
    found: list[Response] = []
    try:
        while len(found) != count and (response := _response(stream)):
            found.append(response)
    except ConnectionResetError:  # instead of a close
        pass
    return found


def _response(stream: BinaryIO) -> Response | None:
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line)
    if not lines:
        return None
    head = b"".join(lines)
    status = int(lines[0].split()[1])
    if status == 100:
        return _response(stream)
    if length := re.search(rb"(?im)^content-length: *(\d+)", head):
        return Response(status, head, stream.read(int(length[1])))
    if re.search(rb"(?im)^transfer-encoding: *chunked", head):
        parts = []
        while size := int(stream.readline().split(b";")[0], 16):
            parts.append(stream.read(size))
            stream.readline()
        stream.readline()
        return Response(status, head, b"".join(parts))
    return Response(status, head, stream.read())


# How long a proxy waits for a client: shorter here, so that the tests see the ends of all connections.
PROXYS_PATIENCE = r"((?:keepalive|client_header|client_body)_timeout|timeout (?:client|http-\S+)) \d+s"


@contextmanager
def proxied(program_name: str, server: Server, folder: Path) -> Iterator[Proxy]:
    """nginx or HAProxy with its file of deploy/, but for ports, hosts and time limits. The model is `tensormask`."""
    port, statistics = free_ports(2)
    text = (DEPLOY / ("nginx.conf" if program_name == "nginx" else "haproxy.cfg")).read_text()
    text, count = re.subn(PROXYS_PATIENCE, r"\1 3s", text)
    assert count >= 3
    configuration = folder / f"{program_name}.conf"
    command = [str(program(program_name))]
    if program_name == "nginx":
        text = text.replace("listen 8000;", f"listen 127.0.0.1:{port};").replace(":8080", f":{server.ports[0]}")
        (folder / "site.conf").write_text(text)
        paths = "".join(
            f"{what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        configuration.write_text(
            f"{user}daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{paths}include {folder}/site.conf;\n}}\n"
        )
        command += ["-e", "stderr", "-c", str(configuration)]
    else:
        text = text.replace("bind :8000", f"bind 127.0.0.1:{port}").replace(":9999", f":{statistics}")
        text = re.sub(r"(?m)^    server host[2-4] .*\n|^    # not there yet.*\n", "", text)
        text = text.replace("10.0.0.11:8080", f"127.0.0.1:{server.ports[0]}")
        configuration.write_text(text)
        command += ["-db", "-f", str(configuration)]
    log = folder / f"{program_name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    proxy = Proxy(program_name, port, server, log)
    try:
        wait_for(lambda: _is_up(proxy), f"{program_name} to answer", unless=lambda: _said(process, log))
        yield proxy
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def _is_up(proxy: Proxy) -> bool:
    try:
        responses = proxy.exchange(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return [response.status for response in responses] == [200]
    except OSError:
        return False


def _said(process: subprocess.Popen[bytes], log: Path) -> str | None:
    return None if process.poll() is None else log.read_text()
