"""The gateway in front of a real server: what comes through it, and what it does itself."""

import contextlib
import gzip
import io
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from tensormask_server import Predictor
from tensormask_server.client import Client

from reference.cases import Case
from tests.served.conftest import THRESHOLD, Server, launched, request_body
from tests.served.gateways import RunningGateway, accepted, gateway_of
from tests.waiting import PATIENCE, wait_for

ORIGIN = "https://pages.example.org"
FORM = b'--abc\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n%s\r\n--abc--\r\n'


@pytest.fixture(scope="module")
def gateway(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway_of(server, tmp_path_factory.mktemp("gateway"), "--cors-origin", ORIGIN) as running:
        yield running


@pytest.fixture(scope="module")
def http(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def image(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.fromarray(case.image).save(path)
    return path


def curl(*words: object) -> tuple[int, bytes]:
    """The status and the body of what curl gets."""
    printed = subprocess.run(["curl", "-sS", "-w", "%{http_code}", *map(str, words)], capture_output=True, check=True)
    return int(printed.stdout[-3:]), printed.stdout[:-3]


# --- POST /v1/segment ---


def test_segment_reads_each_body_that_the_server_reads(
    gateway: RunningGateway, case: Case, image: Path, tmp_path: Path
) -> None:
    pixels = tmp_path / "image.json"
    pixels.write_bytes(request_body(case.image))
    url = f"{gateway.url}/v1/segment?format=coco"
    responses = [
        curl(*words, url)
        for words in (
            ("-T", image),
            ("-F", f"data=@{image}"),
            ("-H", "Content-Type: image/png", "--data-binary", f"@{image}"),
            ("-H", "Transfer-Encoding: chunked", "-T", image),
            ("--json", f"@{pixels}"),
            ("-d", f"@{pixels}"),
        )
    ]
    assert [status for status, _ in responses] == [200] * len(responses)
    counts = {len(json.loads(body)["instances"]) for _, body in responses}
    assert len(counts) == 1
    assert counts.pop() > 3


def test_options_stand_in_the_query(http: httpx.Client, image: Path) -> None:
    few = http.post("/v1/segment", params={"max_detections": 1, "model": "tiny"}, content=image.read_bytes())
    assert len(few.json()["instances"]) == 1
    drawn = http.post("/v1/segment?format=png&score_threshold=0.3", content=image.read_bytes())
    assert Image.open(io.BytesIO(drawn.content)).format == "PNG"


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("model=tinys", 400, "did you mean tiny"),
        ("model=tiny&model=tiny", 400, "2 models"),
        ("model=", 400, "model is ''"),
        ("format=coco&format=png", 400, '"format" stands 2 times'),
        ("format=gif", 400, 'format is "gif"'),
        ("a=" + "b" * 9000, 414, "URL"),
    ],
)
def test_a_wrong_query_gets_an_error(http: httpx.Client, image: Path, query: str, status: int, said: str) -> None:
    response = http.post(f"/v1/segment?{query}", content=image.read_bytes())
    assert response.status_code == status
    assert said in response.json()["error"]
    assert response.json()["expected"]


# --- the first server's path ---


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "x", None]
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf \r\n"])
def test_the_first_servers_clients_get_their_masks(
    http: httpx.Client, predictor: Predictor, case: Case, content_type: str | None, start: bytes
) -> None:
    """Their images were read by OpenCV, so their channels are in the order BGR."""
    body = start + request_body(case.image[..., ::-1])
    headers = {"Content-Type": content_type} if content_type else {}
    response = http.post("/model/", content=body, headers={**headers, "Accept": "application/json", "Format": "png"})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/gzip"
    assert response.headers["Content-Disposition"].startswith("attachment")
    with gzip.open(io.BytesIO(response.content)) as file:
        masks = torch.load(io.BytesIO(file.read()), weights_only=True)["pred_masks"]
    [expected] = predictor([case.image], THRESHOLD)
    assert masks.dtype == torch.bool
    np.testing.assert_array_equal(masks, expected.masks)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no body"),
        (b"\xff\xd8\xff", "no JSON object"),
        (b"{}", "no img_data"),
        (b'{"img_data": [[[1]]]}', "1 channels"),
        (b'{"img_data": [', "not JSON"),
        (b'{"channel_order": "RGB", "img_data": [[[1]],[[1]],[[1]]]}', "twice"),
    ],
)
def test_the_first_servers_path_says_what_is_wrong(http: httpx.Client, body: bytes, said: str) -> None:
    response = http.post("/model/", content=body)
    assert response.status_code == 400
    assert said in response.json()["error"]


# --- TorchServe's paths ---

UNCHANGED = {
    "ping": ("GET", "/ping", b"", {}),
    "pixels": ("POST", "/predictions/tiny", b'{"img_data": [[[1]],[[2]],[[3]]]}', {"Content-Type": "application/json"}),
    "a version": ("POST", "/predictions/tiny/1.0", b'{"img_data": [[[1]],[[2]],[[3]]]}', {}),
    "a query": ("POST", "/tiny/predict?format=csv", b'{"img_data": [[[1]],[[2]],[[3]]]}', {}),
    "invoke": ("POST", "/models/tiny/invoke?format=csv", b'{"img_data": [[[1]],[[2]],[[3]]]}', {}),
    "invocations": ("POST", "/invocations?format=csv", b'{"img_data": [[[1]],[[2]],[[3]]]}', {}),
    "KServe 1": ("POST", "/v1/models/tiny:predict", b'{"instances": [{"image": "?"}]}', {}),
    "KServe 2": ("POST", "/v2/models/tiny/infer", b'{"inputs": []}', {}),
    "a bad body": ("POST", "/predictions/tiny", b"?", {}),
    "no body": ("POST", "/predictions/tiny", b"", {}),
    "the page, with a query": ("GET", "/predictions/tiny?a=b", b"", {"Accept": "text/html"}),
    "another model": ("POST", "/predictions/other", b"?", {}),
    "the page": ("GET", "/predictions/tiny", b"", {"Accept": "text/html"}),
    "a form": ("POST", "/tiny/predict", FORM % b"?", {"Content-Type": "multipart/form-data; boundary=abc"}),
}
PREDICTION = b"POST /predictions/tiny HTTP/1.1\r\nHost: a\r\n"
OWN = {"server-timing", "x-torchserve-request-id", "date", "vary", "connection"}  # these differ from request to request


@pytest.mark.parametrize("name", UNCHANGED)
def test_torchserves_paths_go_through_unchanged(http: httpx.Client, server: Server, name: str) -> None:
    method, path, body, headers = UNCHANGED[name]
    headers = {**headers, "X-Request-ID": "mine"}
    direct = httpx.request(
        method, f"http://127.0.0.1:{server.ports[0]}{path}", content=body, headers=headers, timeout=PATIENCE
    )
    through = http.request(method, path, content=body, headers=headers)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    expected = {key: value for key, value in direct.headers.items() if key not in OWN}
    found = {key: value for key, value in through.headers.items() if key not in OWN}
    assert found == {**expected, "x-request-id": "mine"}


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("?format=csv&score_threshold=0.3", b'{"img_data": [[[1]],[[2]],[[3]]]}', {}),
        ("?format=csv", b"", {}),
        ("?format=gif", b'{"img_data": [[[1]],[[2]],[[3]]]}', {"Content-Type": "application/json"}),
        ("?classes=class%201&classes=class%202", FORM % b"?", {"Content-Type": "multipart/form-data; boundary=abc"}),
        ("?a=1&a=2", b"?", {}),
        ("/1.0?format=csv", b'{"img_data": [[[1]],[[2]],[[3]]]}', {}),
        ("/9.9?format=csv", b"?", {}),
    ],
)
def test_the_options_in_the_query_of_predictions_hold(
    http: httpx.Client, server: Server, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """TorchServe drops the query of this path, and takes it on its older one."""
    version, _, query = path.removeprefix("/").partition("?")
    older = "/".join(part for part in ("tiny", version, "predict") if part)
    direct = httpx.post(
        f"http://127.0.0.1:{server.ports[0]}/{older}?{query}", content=body, headers=headers, timeout=PATIENCE
    )
    through = http.post(f"/predictions/tiny{path}", content=body, headers=headers)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    dropped = {*OWN, "x-request-id"}
    assert {key: value for key, value in through.headers.items() if key not in dropped} == {
        key: value for key, value in direct.headers.items() if key not in dropped
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api-description", 404),
        ("OPTIONS", "/", 405),
        ("GET", "/models", 404),
        ("GET", "/models/tiny", 404),
        ("PUT", "/models/tiny?min_worker=0", 404),
        ("POST", "/workflows?url=x.war", 404),
        ("GET", "/metrics", 404),
        ("GET", "/token", 404),
        ("POST", "/explanations/tiny", 404),
        ("POST", "/wfpredict/tiny", 404),
        ("GET", "/nothing", 404),
        ("GET", "//ping", 404),
        ("GET", "/ping/", 404),
        ("POST", "//predictions/tiny", 404),
        ("POST", "/predictions/..%2fapi-description", 404),
        ("POST", "/predictions/tiny%2f..%2f..", 404),
        ("POST", "/predictions/%2e%2e/%2e%2e", 404),
        ("POST", "/predictions/tiny%0d%0aX:1", 404),
        ("POST", "/predictions/tiny%3fformat=png", 404),
        ("POST", "/predictions/tiny%00", 404),
        ("POST", "/predictions/t%C3%BC", 404),
        ("DELETE", "/predictions/tiny", 405),
        ("PATCH", "/v1/segment", 405),
        ("GET", "/v1/segment", 405),
        ("GET", "/model/", 405),
    ],
)
def test_other_paths_and_methods_are_closed(gateway: RunningGateway, method: str, path: str, status: int) -> None:
    found, body = curl("-X", method, "--path-as-is", gateway.url + path)
    assert found == status
    said = json.loads(body)
    assert said["expected"]
    assert status == 404 or said["error"] == f"this path doesn't accept {method}"


def test_head_gets_the_headers_alone(gateway: RunningGateway) -> None:
    printed = subprocess.run(["curl", "-sS", "-I", f"{gateway.url}/ping"], capture_output=True, check=True).stdout
    assert printed.startswith(b"HTTP/1.1 200")
    assert printed.endswith(b"\r\n\r\n")


def test_the_projects_own_client_works_through_it(gateway: RunningGateway, image: Path) -> None:
    assert len(Client(f"{gateway.url}/predictions/tiny").predict(image).scores) > 3


# --- forms ---


@pytest.mark.parametrize("path", ["/v1/segment", "/predictions/tiny", "/tiny/predict", "/v1/models/tiny:predict"])
def test_an_image_that_curl_damages_gets_a_400(gateway: RunningGateway, case: Case, tmp_path: Path, path: str) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(case.image).save(photo)
    status, body = curl("-d", f"@{photo}", gateway.url + path)
    assert status == 400
    assert "curl -d" in json.loads(body)["error"]
    assert "curl -T" in json.loads(body)["expected"]


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("multipart/form-data; boundary=abc", FORM[:-9] % b"?", "last boundary"),
        ("multipart/form-data; boundary=abx", FORM % b"?", "boundary that its Content-Type names"),
        ("multipart/form-data; boundary=abc; boundary=abx", FORM % b"?", "Content-Type"),
        ("multipart/form-data; boundary=", FORM % b"?", "Content-Type"),
        ("multipart/form-data", FORM % b"?", "no boundary"),
        ("multipart/form-data; boundary=abc", (FORM % b"?").replace(b"form-data;", b"x;"), "Content-Disposition"),
        ("multipart/form-data; boundary=abc", b"", "no part"),
        ("application/x-www-form-urlencoded", b"a=%zz", "hexadecimal"),
        ("application/x-www-form-urlencoded", b"a=1&" * 100_000, "fields"),
        ("application/x-www-form-urlencoded", b"format=png", "no file"),
        ("multipart/form-data; boundary=abc", (FORM % b"?")[:-9] * 100_000, "parts"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/segment", "/predictions/tiny"])
def test_a_broken_form_gets_a_400(http: httpx.Client, path: str, content_type: str, body: bytes, said: str) -> None:
    response = http.post(path, content=body, headers={"Content-Type": content_type})
    assert response.status_code == 400, response.text
    assert said in response.json()["error"]


# --- origins, ids, the log ---


def test_a_page_of_a_named_origin_may_send_and_read(http: httpx.Client, image: Path) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    asked = {**headers, "Access-Control-Request-Headers": "authorization,score-threshold"}
    preflight = http.options("/v1/segment", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    for body in (image.read_bytes(), b"?"):
        response = http.post("/v1/segment", content=body, headers={"Origin": ORIGIN})
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]


def test_a_page_of_another_origin_may_not(http: httpx.Client) -> None:
    headers = {"Origin": "https://elsewhere.example.org", "Access-Control-Request-Method": "POST"}
    assert http.options("/v1/segment", headers=headers).status_code == 400
    response = http.get("/ping", headers=headers)
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(("path", "status"), [("/v1/segment", 400), ("/healthz", 200), ("/nothing", 404)])
def test_each_request_has_an_id_and_a_line(gateway: RunningGateway, http: httpx.Client, path: str, status: int) -> None:
    id = f"test{path.replace('/', '-')}"
    method = "POST" if "v1" in path else "GET"
    response = http.request(method, path, headers={"X-Request-ID": id}, content=b"?" if method == "POST" else None)
    assert response.headers["X-Request-ID"] == id
    record = gateway.record(id)
    assert (record["path"], record["status"], record["ended"]) == (path, status, "whole")
    assert record["bytes_out"] == len(response.content)


def test_an_id_that_no_log_should_hold_is_replaced(gateway: RunningGateway) -> None:
    status, body = curl("-H", "X-Request-ID: a b", "-o", "/dev/null", "-D", "-", f"{gateway.url}/healthz")
    assert status == 200
    assert b"x-request-id: a b" not in body.lower()


# --- the server behind ---


def test_the_probes_and_the_page(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "running"}
    assert http.get("/readyz").json() == {"status": "ready", "workers": {"tiny": 1}}
    page = http.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"]
    assert b'<html lang="en"' in page.content


def test_an_error_of_a_worker_names_no_port_of_the_server_behind(http: httpx.Client) -> None:
    response = http.post("/v1/segment", content=b"")
    assert response.status_code == 400
    assert "HOST:PORT/MODEL/predict" in response.json()["expected"]  # the gateway has this path, too


def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway, image: Path) -> None:
    """The first one takes the network's time, and the second one none."""
    content = image.read_bytes()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as client:
        client.sendall(PREDICTION + b"X-Request-ID: first\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-ID: second\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert re.findall(rb"x-request-id: (\w+)", received) == [b"first", b"second"]


@pytest.mark.parametrize("following", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["alone", "pipelined"])
@pytest.mark.parametrize("leave", [socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)])
def test_a_client_that_goes_away_cancels_its_request(
    server: Server, tmp_path: Path, leave: Callable[[socket.socket], None], following: bytes
) -> None:
    """Behind the gateway listens a socket that never answers. Half of a close can't be told from a whole one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        upstream = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with gateway_of(server, tmp_path, upstream=upstream) as gateway:
            client = socket.create_connection(("127.0.0.1", gateway.port))
            client.sendall(PREDICTION + b"X-Request-ID: gone\r\nContent-Length: 3\r\n\r\nabc" + following)
            connection = accepted(silent)
            received = b""
            while not received.endswith(b"\r\n\r\nabc"):
                received += connection.recv(1 << 16)
            leave(client)
            assert connection.recv(1) == b""  # the gateway closes its connection
            assert gateway.record("gone")["ended"] == "client gone"


@pytest.mark.extensive  # a request that TorchServe loses is waited for
def test_a_request_finds_the_server_again_after_it_was_away(archive: Path, tmp_path: Path, image: Path) -> None:
    with (
        launched(tmp_path, "--archive", archive, PATH="") as server,
        gateway_of(server, tmp_path) as gateway,
        httpx.Client(base_url=gateway.url, timeout=PATIENCE) as client,
    ):
        assert client.post("/v1/segment", content=image.read_bytes()).status_code == 200
        [pid] = server.worker_pids()
        subprocess.run(["kill", "-9", str(pid)], check=True)
        # TorchServe loses what is in hand, sometimes without a response, and the rest waits
        with contextlib.suppress(httpx.ReadTimeout):
            response = client.post("/v1/segment", content=image.read_bytes(), timeout=30)
            assert response.status_code in (200, 500, 507)
        wait_for(lambda: client.get("/readyz").status_code == 200, "a READY worker")
        assert client.post("/v1/segment", content=image.read_bytes()).status_code == 200
        assert server.process is not None
        server.process.terminate()
        server.process.wait(PATIENCE)
        response = client.post("/v1/segment", content=image.read_bytes())
        assert response.status_code == 503
