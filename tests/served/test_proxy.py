"""deploy/nginx.conf and deploy/haproxy.cfg in front of a real server: what docs/PROXY.md promises of them.

`make hosts` runs HAProxy for minutes, with hosts that come and go.
"""

import json
import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.served.conftest import ROOT, Server, launched, send
from tests.served.proxies import DEPLOY, PROGRAMS, Proxy, program, proxied, responses
from tests.waiting import wait_for

pytestmark = pytest.mark.extensive

SIZES = {"a": (40, 30), "b": (30, 40), "c": (50, 20)}  # width and height, by which a response tells whose it is
CLIENTS = 3  # that ask for c, while attackers send a and b
ATTACKERS = 8
LIMIT_OF_NGINX = 20


def png(name: str) -> bytes:
    written = BytesIO()
    Image.new("RGB", SIZES[name]).save(written, "png")
    return written.getvalue()


def post(body: bytes, *headers: str, path: str = "/predictions/tensormask", length: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: image/png", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def chunked(body: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n0\r\n\r\n" % (len(body), extension, body)


def closing(raw: bytes) -> bytes:
    """The request, after whose response the proxy closes the connection."""
    return raw.replace(b"\r\nHost: x\r\n", b"\r\nHost: x\r\nConnection: close\r\n", 1)


def size_in(body: bytes) -> tuple[int, int]:
    response = json.loads(body)
    return response["width"], response["height"]


@pytest.fixture(scope="module")
def behind(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two workers, so that a later request can be done before an earlier one."""
    folder = tmp_path_factory.mktemp("behind")
    shutil.copy(archive, folder / "tensormask.mar")
    with launched(folder, "--archive", "tensormask.mar", PATH="", OMP_NUM_THREADS="1") as server:
        server.manage("?min_worker=2&max_worker=2", "PUT")
        wait_for(lambda: len(server.worker_pids()) == 2, "two READY workers")
        yield server


@pytest.fixture(scope="module", params=PROGRAMS)
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if program(request.param) is None:
        pytest.skip(f"{request.param} is not installed: apt-get install nginx-light haproxy")
    server: Server = request.getfixturevalue("behind")
    with proxied(request.param, server, tmp_path_factory.mktemp(request.param)) as running:
        yield running


# --- whose response it is ---------------------------------------------------------------------------------------------


def asked_in_turn(proxy: Proxy, name: str, done: threading.Event) -> list[tuple[int, int]]:
    """The sizes in the responses to one client, two on a connection, until it has to stop."""
    found = []
    while not done.is_set():
        with proxy.connect() as connection:
            connection.sendall(post(png(name)) + post(png(name), "Connection: close"))
            received = responses(connection)
        assert [response.status for response in received] == [200, 200]
        found += [size_in(response.body) for response in received]
    return found


@pytest.mark.attack(7, "pipelined requests behind nginx and HAProxy")
def test_pipelined_requests_get_their_responses_in_order(proxy: Proxy) -> None:
    """By several clients at once, who ask for images of their own."""

    def sizes(order: str) -> list[tuple[int, int]]:
        raw = b"".join(post(png(name)) for name in order)
        with proxy.connect() as connection:
            connection.sendall(raw)
            return [size_in(response.body) for response in responses(connection, len(order))]

    orders = ["abcabcabc", "cbacbacba", "aabbccaab", "ccbbaaccb"]
    with ThreadPoolExecutor(len(orders)) as pool:
        for order, found in zip(orders, pool.map(sizes, orders), strict=True):
            assert found == [SIZES[name] for name in order]


SMUGGLED = get("/api-description")  # what the server would answer with its version, and the proxies leave out
SECOND = post(png("b"))
ATTACKS = {
    "a length, and chunks that end before it": post(
        b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked"
    ),
    "chunks after a length of 4": post(
        b"2e\r\n" + SMUGGLED + b"\r\n0\r\n\r\n", "Content-Length: 4", "Transfer-Encoding: chunked", length=False
    ),
    "chunks and a length, with an image inside": post(chunked(png("a")) + SECOND, "Transfer-Encoding: chunked"),
    "two codings, the second unknown": post(
        b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked", "Transfer-Encoding: cow"
    ),
    "two codings in a line": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: cow, chunked"),
    "chunked after a vertical tab": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding:\x0bchunked"),
    "a space before the colon": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding : chunked"),
    "chunked in quotes": post(b"0\r\n\r\n" + SMUGGLED, 'Transfer-Encoding: "chunked"'),
    "the coding in a folded line": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding:\r\n chunked"),
    "a folded header": post(png("a"), "X-Any: 1\r\n two"),
    "a folded first header": b"POST /predictions/tensormask HTTP/1.1\r\n Content-Length: 5\r\n" + post(b"")[39:],
    "two lengths, the first short": post(SMUGGLED, "Content-Length: 0"),
    "two lengths, the second short": post(SMUGGLED)[: -len(SMUGGLED) - 2] + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
    "two lengths in a line": post(SMUGGLED, f"Content-Length: 0, {len(SMUGGLED)}", length=False),
    "a length with a sign": post(SMUGGLED, "Content-Length: +0", length=False),
    "a hexadecimal length": post(SMUGGLED, "Content-Length: 0x0", length=False),
    "a length of letters after it": post(SMUGGLED, "Content-Length: 0 a", length=False),
    "no length": post(SMUGGLED, length=False),
    "bare line feeds": post(png("a")).replace(b"\r\n", b"\n", 5) + SMUGGLED,
    "a bare line feed that hides a header": post(SMUGGLED, "X-Any: 1\nTransfer-Encoding: chunked"),
    "a bare carriage return that hides a header": post(SMUGGLED, "X-Any: 1\rTransfer-Encoding: chunked"),
    "a NUL in a header": post(SMUGGLED, "X-Any: 1\0Transfer-Encoding: chunked"),
    "a chunk's extension": post(
        chunked(png("a"), b";x=" + b"y" * 50), "Transfer-Encoding: chunked", length=False
    ) + SMUGGLED,
    "a chunk's extension with a line feed": post(
        chunked(png("a"), b";x\n"), "Transfer-Encoding: chunked", length=False
    ) + SMUGGLED,
    "a chunk's size with a prefix": post(
        b"0x5\r\nabcde\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False
    ) + SMUGGLED,
    "a chunk's size beyond 64 bits": post(
        b"10000000000000000\r\n" + SMUGGLED, "Transfer-Encoding: chunked", length=False
    ),
    "a chunk without its end of line": post(
        b"5\r\nabcde0\r\n\r\n", "Transfer-Encoding: chunked", length=False
    ) + SMUGGLED,
    "a trailer": post(
        chunked(png("a"))[:-2] + b"Content-Length: 9\r\n\r\n", "Transfer-Encoding: chunked", length=False
    ) + SMUGGLED,
    "HTTP/1.0 with chunks": post(chunked(png("a")), "Transfer-Encoding: chunked").replace(b"1.1", b"1.0", 1) + SMUGGLED,
    "an upgrade": post(png("a"), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    + SMUGGLED,
    "the length as a header of the connection": post(SMUGGLED, "Connection: close, Content-Length"),
    "a continuation that is expected": post(SMUGGLED, "Expect: 100-continue") + SMUGGLED,
    "two hosts": post(png("a"), "Host: y") + SMUGGLED,
    "a body of a GET": get("/ping")[:-2] + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
}  # fmt: skip


def checked(proxy: Proxy, attack: str) -> list[int]:
    """Attacks once; the responses' statuses. None is of a path that isn't open, and an image's is of the attacker's."""
    received = proxy.exchange(ATTACKS[attack])
    for response in received:
        assert b"0.12.0" not in response.body
        assert b"openapi" not in response.body
        if response.status == 200 and b"instances" in response.body:
            assert size_in(response.body) in (SIZES["a"], SIZES["b"])
    return [response.status for response in received]


REFUSALS = {400, 404, 408, 411, 422, 501, 505}


@pytest.mark.attack(7, "requests smuggled through nginx and HAProxy")
def test_no_attack_gets_a_request_past_the_proxy_or_another_clients_response(proxy: Proxy) -> None:
    """Other clients send requests all the time. Each attack is sent twice, as its response may go to another client."""
    done = threading.Event()
    with ThreadPoolExecutor(CLIENTS + ATTACKERS) as pool:
        clients = [(name, pool.submit(asked_in_turn, proxy, name, done)) for name in ["c"] * CLIENTS]
        try:
            attacks = [(name, pool.submit(checked, proxy, name)) for name in [*ATTACKS, *ATTACKS]]
            statuses = [(name, attack.result()) for name, attack in attacks]
        finally:
            done.set()
        for name, client in clients:
            assert set(client.result()) == {SIZES[name]}
    odd = [(name, found) for name, found in statuses if not found or not {*found} <= {200} | REFUSALS]
    assert odd == []


# --- what is let through ----------------------------------------------------------------------------------------------

OPEN = [
    get("/ping"),
    post(png("a")),
    post(png("a"), path="/predictions/tensormask/1.0"),
    post(png("a")).replace(b"POST", b"PUT", 1),
    post(png("a"), path="/tensormask/predict?format=png&score_threshold=0.9"),
    get("/predictions/tensormask").replace(b"\r\n\r\n", b"\r\nAccept: text/html\r\n\r\n"),
]
CLOSED = [
    get("/api-description"),
    get("/", "OPTIONS"),
    get("*", "OPTIONS"),
    get("/predictions/tensormask", "OPTIONS"),
    get("/predictions/tensormask", "DELETE"),
    get("/predictions/tensormask", "TRACE"),
    get("x:80", "CONNECT"),
    get("/wfpredict/tensormask"),
    get("/explanations/tensormask"),
    get("/models/tensormask"),
    post(b"{}", path="/models/tensormask/invoke"),
    post(b"{}", path="/models?url=x.mar"),
    post(b"{}", path="/invocations"),
    get("/metrics"),
    get("/predictions/absent"),
    get("/predictions/tensormask/9.9"),
    get("/predictions/tensormask/1.0/;touch$IFS/tmp/x;"),
    get("/predictions/tensormask/../../api-description"),
    get("/predictions/tensormask/%2e%2e/%2e%2e/api-description"),
    get("//api-description"),
    get("/api%2ddescription"),
    get("/ping/../api-description"),
    get("/API-DESCRIPTION"),
    get("http://x/api-description"),
    get("http://x/ping/../api-description"),
    post(b"a=1", "Content-Type: application/x-www-form-urlencoded").replace(b"Content-Type: image/png\r\n", b""),
    post(b"", "Content-Type: Multipart/Form-Data; boundary=x").replace(b"Content-Type: image/png\r\n", b""),
    b"POST /predictions/tensormask HTTP/1.1\r\nHost: x\r\nContent-Length: 67108865\r\n\r\n",
]


@pytest.mark.parametrize("raw", OPEN, ids=lambda raw: raw.partition(b" HTTP")[0].decode())
def test_what_is_documented_is_let_through(proxy: Proxy, raw: bytes) -> None:
    [response] = proxy.exchange(closing(raw))
    assert response.status == 200, response


@pytest.mark.parametrize("raw", CLOSED, ids=lambda raw: raw.partition(b" HTTP")[0].decode())
def test_what_is_not_documented_is_refused(proxy: Proxy, raw: bytes) -> None:
    [response] = proxy.exchange(closing(raw))
    assert 400 <= response.status < 500, response
    assert b'"code"' not in response.body  # TorchServe's own errors have it, so TorchServe didn't get the request
    assert b"0.12.0" not in response.body


def test_a_clients_id_reaches_the_server_and_comes_back(proxy: Proxy) -> None:
    [response] = proxy.exchange(post(png("a"), "X-Request-ID: order-4711", "Connection: close"))
    assert response.status == 200
    assert re.findall(rb"(?im)^x-request-id: *(\S+)", response.head) == [b"order-4711"]


def test_an_absolute_url_is_the_path_in_it(proxy: Proxy) -> None:
    [response] = proxy.exchange(closing(get("http://x/ping")))
    assert (response.status, b"Healthy" in response.body) in ((200, True), (400, False), (404, False))


# --- who holds what ---------------------------------------------------------------------------------------------------


def test_slow_senders_keep_no_connection_of_the_server(proxy: Proxy) -> None:
    """Ten that have sent half of a body, while another client is answered."""
    whole = post(png("a") + bytes(200_000))
    senders = [proxy.connect() for _ in range(10)]
    try:
        for sender in senders:
            sender.sendall(whole[: len(whole) // 2])
        [response] = proxy.exchange(closing(post(png("b"))))
        assert size_in(response.body) == SIZES["b"]
        wait_for(lambda: proxy.server_connections() == 0, "the server to have no connection")
    finally:
        for sender in senders:
            sender.close()


def test_nginx_takes_so_many_requests_of_one_address_at_once(proxy: Proxy) -> None:
    """One more gets a 503, until one of them has gone."""
    if proxy.program_name != "nginx":
        pytest.skip("HAProxy's file has no such limit")
    half = closing(post(bytes(1000)))[:-500]

    def status_beside_others() -> int:
        senders = [proxy.connect() for _ in range(LIMIT_OF_NGINX)]
        try:
            for sender in senders:
                sender.sendall(half)
            return proxy.exchange(closing(get("/ping")))[0].status
        finally:
            for sender in senders:
                sender.close()

    wait_for(lambda: status_beside_others() == 503, "a 503 for one request more")  # nginx may have read less at first
    wait_for(lambda: proxy.exchange(closing(get("/ping")))[0].status == 200, "a 200 when they have gone")


# --- the files themselves ---------------------------------------------------------------------------------------------


def test_both_let_the_same_paths_through_as_their_page_says() -> None:
    nginx = re.findall(r"location = (\S+)", (DEPLOY / "nginx.conf").read_text())
    lines = re.findall(r"acl open path -m str (.+)", (DEPLOY / "haproxy.cfg").read_text())
    assert sorted(nginx) == sorted(" ".join(lines).split())
    [said] = re.findall(r"The paths are (.+?)\.\s", (ROOT / "docs" / "PROXY.md").read_text(), re.DOTALL)
    written = [path.replace("/1.0", "/predictions/tensormask/1.0", 1) for path in re.findall("`(.+?)`", said)]
    assert sorted(written) == sorted(nginx)


# --- HAProxy's own ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(program("haproxy") is None, reason="HAProxy is not installed: apt-get install haproxy")
def test_haproxy_takes_its_file_without_a_warning() -> None:
    command = [str(program("haproxy")), "-c", "-f", str(DEPLOY / "haproxy.cfg")]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[WARNING]" not in checked.stderr


def test_a_worker_responds_to_the_proxys_check(server: Server) -> None:
    text = (DEPLOY / "haproxy.cfg").read_text()
    [(path, name, value)] = re.findall(r"http-check send meth GET uri (\S+) hdr (\S+) (\S+)", text)
    [status] = re.findall(r"http-check expect status (\d+)", text)
    received = []
    for model in (server.name, "absent"):
        url = f"http://127.0.0.1:{server.ports[0]}{path.replace('tensormask', model)}"
        received.append(send(urllib.request.Request(url, headers={name: value})))
    assert [response.status == int(status) for response in received] == [True, False]
    assert received[0].content_type == "text/html; charset=utf-8"
