"""What a server lets others do, see and know: by default, and opened to other machines by TLS, tokens and CORS."""

import http.client
import json
import os
import platform
import socket
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from tensormask_server.client import Client, WrongServer
from tensormask_server.health import NotReady, ready_workers
from tensormask_server.tokens import TokenFile

from reference.cases import Case
from tests.certificates import self_signed
from tests.served.conftest import ROOT, Server, launched, request_body
from tests.waiting import PATIENCE

ORIGIN = "https://pages.example.org"
NOTHING: Mapping[str, str] = {}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Opened:
    """A server on all addresses."""

    server: Server
    certificate: Path

    @property
    def url(self) -> str:
        return self.server.url.replace("http://", "https://")

    def bearer(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.server.keys()[key]}"}


@pytest.fixture(scope="module")
def opened(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("opened")
    certificates = folder / "schlüssel 鍵"
    certificates.mkdir()
    certificate, key = self_signed(certificates)
    properties = (ROOT / "config.properties").read_text().replace("#   cors_", "cors_")
    (folder / "config.properties").write_text(properties)
    options = ["-h", "0.0.0.0", "--certificate", certificate, "--key", key, "--ts-config", "config.properties"]
    with launched(folder, "--archive", archive, *options, PATH="") as server:
        yield Opened(server, certificate)


def fetched(
    url: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] = NOTHING, **tls: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    request = urllib.request.Request(url, body, dict(headers), method=method)
    context = ssl.create_default_context(**tls) if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def listening(server: Server) -> set[tuple[str, int]]:
    """The addresses and ports at which anything that the command started can be reached, TCP and UDP."""
    processes = psutil.Process(server.process.pid)
    sockets = [each for p in (processes, *processes.children(recursive=True)) for each in p.net_connections("inet")]
    return {
        (each.laddr.ip.removeprefix("::ffff:"), each.laddr.port)
        for each in sockets
        if each.laddr and (each.status == psutil.CONN_LISTEN or (each.type == socket.SOCK_DGRAM and not each.raddr))
    }


# --- what is open -----------------------------------------------------------------------------------------------------


def test_by_default_all_sockets_are_on_loopback(server: Server) -> None:
    found = listening(server)
    assert {port for _, port in found} >= set(server.ports)
    assert {address for address, _ in found} <= {"127.0.0.1", "::1"}


def test_an_opened_server_opens_only_the_predictions(opened: Opened) -> None:
    found = listening(opened.server)
    assert {port for address, port in found if address not in ("127.0.0.1", "::1")} == {opened.server.ports[0]}


def test_behind_a_proxy_no_token_is_needed_and_the_rest_stays_closed(archive: Path, case: Case, tmp_path: Path) -> None:
    with launched(tmp_path, "--archive", archive, "-h", "0.0.0.0", "--no-tokens", PATH="") as server:
        assert fetched(server.url, "POST", request_body(case.image), JSON)[0] == 200
        found = listening(server)
        assert {port for address, port in found if address not in ("127.0.0.1", "::1")} == {server.ports[0]}
        assert fetched(f"http://127.0.0.1:{server.ports[1]}/models?{MODELS[0]}", "POST")[0] == 405
        assert fetched(f"http://127.0.0.1:{server.ports[0]}/models/tiny")[0] != 200


def test_with_tokens_on_the_health_check_reads_them_or_says_what_it_wants(opened: Opened, tmp_path: Path) -> None:
    port = opened.server.ports[1]
    assert ready_workers(port, opened.server.key_file) == {"tiny": 1}
    with pytest.raises(NotReady, match=r'requires a token, the "management" key .* there is none; name .* --key-file'):
        ready_workers(port, tmp_path / "absent.json")
    expired = tmp_path / "expired.json"
    expired.write_text(json.dumps({"management": {"key": "of yesterday"}}))
    with pytest.raises(NotReady, match="that key isn't valid, or is older than 60 minutes"):
        ready_workers(port, expired)


# --- who may do what --------------------------------------------------------------------------------------------------

MODELS = ["url=http://127.0.0.1:9/x.mar", "url=https://example.org/x.mar", "url=file:///etc/passwd", "url=tiny.mar"]


@pytest.mark.parametrize("model", MODELS)
def test_no_model_can_be_registered(server: Server, opened: Opened, model: str) -> None:
    """Neither without tokens nor with the right one, at no port."""
    assert fetched(f"http://127.0.0.1:{server.ports[1]}/models?{model}", "POST")[0] == 405
    assert fetched(f"http://127.0.0.1:{server.ports[0]}/models?{model}", "POST")[0] == 404
    management = f"http://127.0.0.1:{opened.server.ports[1]}/models?{model}"
    assert fetched(management, "POST")[0] == 405
    assert fetched(management, "POST", headers=opened.bearer("management"))[0] == 405
    assert [
        each["modelName"] for each in json.loads(fetched(f"http://127.0.0.1:{server.ports[1]}/models")[2])["models"]
    ] == ["tiny"]


def test_no_model_can_be_deleted(server: Server, opened: Opened) -> None:
    assert fetched(f"http://127.0.0.1:{server.ports[1]}/models/tiny", "DELETE")[0] == 405
    url = f"http://127.0.0.1:{opened.server.ports[1]}/models/tiny"
    assert fetched(url, "DELETE", headers=opened.bearer("management"))[0] == 405


def test_each_token_opens_only_its_own_api(opened: Opened, case: Case) -> None:
    body = request_body(case.image)
    trusted = {"cafile": str(opened.certificate)}
    management = f"http://127.0.0.1:{opened.server.ports[1]}/models/tiny"
    for wrong in (NOTHING, opened.bearer("management"), opened.bearer("API"), {"Authorization": "Bearer x"}):
        status, _, said = fetched(opened.url, "POST", body, wrong, **trusted)
        assert (status, json.loads(said)["type"]) == (400, "InvalidKeyException")
    assert fetched(opened.url, "POST", body, {**JSON, **opened.bearer("inference")}, **trusted)[0] == 200
    for wrong in (NOTHING, opened.bearer("inference")):
        assert fetched(management, headers=wrong)[0] == 400
    assert fetched(management, headers=opened.bearer("management"))[0] == 200


@pytest.mark.attack(15, "changes without a token, before one with its token")
def test_a_change_without_a_token_does_not_hold_up_one_with_it(opened: Opened) -> None:
    change = f"http://127.0.0.1:{opened.server.ports[1]}/models/tiny?min_worker=1&max_worker=1&synchronous=true"
    for wrong in (NOTHING, opened.bearer("inference"), {"Authorization": "Bearer x"}):
        assert fetched(change, "PUT", headers=wrong)[0] == 400
    assert fetched(change, "PUT", headers=opened.bearer("management"))[0] == 200


ROUTES = [
    "/predictions/tiny",
    "/predictions/tiny/1.0",
    "//predictions/tiny",
    "/%70redictions/tiny",
    "/tiny/predict",
    "/models/tiny/invoke",
    "/invocations",
    "/explanations/tiny",
    "/v1/models/tiny:predict",
    "/v2/models/tiny/infer",
    "/wfpredict/tiny",
    "/ping",
]


@pytest.mark.attack(8, "every route of the inference port without a token, or with a wrong one")
@pytest.mark.parametrize("route", ROUTES)
def test_no_route_can_be_used_without_its_token(opened: Opened, case: Case, route: str) -> None:
    url = opened.url.removesuffix("/predictions/tiny") + route
    for wrong in (NOTHING, opened.bearer("management"), {"Authorization": "Bearer x"}):
        status, _, said = fetched(url, "POST", request_body(case.image), wrong, cafile=str(opened.certificate))
        assert (status, json.loads(said)["type"]) == (400, "InvalidKeyException")


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_a_client_that_trusts_the_certificate_gets_responses(
    opened: Opened, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(opened.certificate))
    found = Client(opened.url, token=opened.server.keys()["inference"]).predict(case.image)
    assert len(found.scores) > 3


def test_a_client_goes_on_with_the_token_that_torchserve_has_renewed(
    opened: Opened, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(opened.certificate))
    client = Client(opened.url, token=TokenFile(opened.server.key_file))
    assert len(client.predict(case.image)) > 3
    before = opened.server.keys()["inference"]
    renew = f"http://127.0.0.1:{opened.server.ports[1]}/token?type=inference"
    assert fetched(renew, headers=opened.bearer("API"))[0] == 200
    assert opened.server.keys()["inference"] != before
    assert len(client.predict(case.image)) > 3


def test_a_client_that_does_not_trust_the_certificate_gets_none(opened: Opened, case: Case) -> None:
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        fetched(opened.url)
    with pytest.raises(WrongServer, match=r"isn't trusted: .*CERTIFICATE_VERIFY_FAILED.* SSL_CERT_FILE"):
        Client(opened.url).predict(case.image)


def test_a_request_without_tls_is_refused(opened: Opened, case: Case) -> None:
    status, _, said = fetched(opened.server.url, headers=opened.bearer("inference"))
    assert status == 403
    assert "only accepts HTTPS" in said.decode()
    with pytest.raises(WrongServer, match=r"is only served by TLS: .*; expected https://$"):
        Client(opened.server.url).predict(case.image)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_older_than_1_2_is_refused(opened: Opened) -> None:
    context = ssl.create_default_context(cafile=str(opened.certificate))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    address = ("127.0.0.1", opened.server.ports[0])
    with socket.create_connection(address) as plain, pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        context.wrap_socket(plain, server_hostname="localhost")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(address) as plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
        assert secure.version() == "TLSv1.2"


# --- pages from elsewhere, in a browser -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_by_default_no_page_from_elsewhere_may_read_a_response(server: Server, method: str) -> None:
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    for port, path in ((0, "/predictions/tiny"), (0, "/ping"), (1, "/models/tiny"), (2, "/metrics")):
        headers = fetched(f"http://127.0.0.1:{server.ports[port]}{path}", method, headers=asking)[1]
        assert [name for name in headers if name.lower().startswith("access-control-")] == []


def test_cors_can_be_opened_to_only_one_origin(opened: Opened) -> None:
    headers = {"Origin": "https://elsewhere.example", **opened.bearer("inference")}
    headers_sent = fetched(opened.url, "POST", b"{}", headers, cafile=str(opened.certificate))[1]
    assert headers_sent["Access-Control-Allow-Origin"] == ORIGIN
    assert "Score-Threshold" in headers_sent["Access-Control-Allow-Headers"]


# --- what responses disclose ------------------------------------------------------------------------------------------


def inner_secrets() -> list[str]:
    """What a stranger has no use for but a bad one: stack traces, paths, versions, the user's and machine's names."""
    traces = ["Traceback", 'File "', "\\tat ", "\\n    at ", ".java", ".py", "org.pytorch", "io.netty", "java.lang"]
    folders = [str(ROOT), sys.prefix, tempfile.gettempdir(), str(Path.home()), "/home", "/usr", "site-packages"]
    paths = [folder + os.sep for folder in folders]
    versions = [torch.__version__, platform.python_version(), "0.12.0", "TorchServe/", "Netty", "Python/"]
    return [*traces, *paths, *versions, platform.node() + "."]


def raw(lines: str) -> bytes:
    return lines.replace("\n", "\r\n").encode("latin1")


POST = "POST /predictions/tiny HTTP/1.1\nHost: x\nConnection: close\n"
GET = "Host: x\nConnection: close\n\n"
REQUESTS = {
    "no such model": raw(f"GET /predictions/absent HTTP/1.1\n{GET}"),
    "no such version": raw(f"GET /predictions/tiny/9.9 HTTP/1.1\n{GET}"),
    "no such path": raw(f"GET /nothing HTTP/1.1\n{GET}"),
    "up the tree": raw(f"GET /predictions/../../../../etc/passwd HTTP/1.1\n{GET}"),
    "up the tree, encoded": raw(f"GET /predictions/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\n{GET}"),
    "a broken escape": raw(f"GET /%zz HTTP/1.1\n{GET}"),
    "a NUL": raw(f"GET /predictions/tiny%00.mar HTTP/1.1\n{GET}"),
    "markup for a name": raw(f"GET /predictions/%3Cscript%3Ealert(1)%3C/script%3E HTTP/1.1\n{GET}"),
    "another method": raw(f"DELETE /predictions/tiny HTTP/1.1\n{GET}"),
    "a long line": raw(f"GET /{'x' * 9000} HTTP/1.1\n{GET}"),
    "long headers": raw(f"GET /ping HTTP/1.1\nA: {'x' * 20000}\n{GET}"),
    "a length that is no number": raw(f"{POST}Content-Length: many\n\n"),
    "a chunk that is no chunk": raw(f"{POST}Transfer-Encoding: chunked\n\nzz\n"),
    "no image": raw(f"{POST}Content-Type: image/png\nContent-Length: 4\n\nabcd"),
    "no JSON": raw(f"{POST}Content-Type: application/json\nContent-Length: 1\n\n{{"),
    "an option that there isn't": raw(f"{POST}Format: exe\nContent-Length: 2\n\n{{}}"),
    "a form of nothing": raw(f"{POST}Content-Type: multipart/form-data; boundary=q\nContent-Length: 1\n\nx"),
    "a form without a boundary": raw(f"{POST}Content-Type: multipart/form-data\nContent-Length: 1\n\nx"),
    "a form of broken escapes": raw(
        f"{POST}Content-Type: application/x-www-form-urlencoded\nContent-Length: 6\n\n%zz=%q"
    ),
    "an explanation": raw(f"GET /explanations/tiny HTTP/1.1\n{GET}"),
    "a description": raw(f"POST /predictions/tiny HTTP/1.1\ndescribe: True\nContent-Length: 0\n{GET}"),
    "no tensor": raw("POST /v2/models/tiny/infer HTTP/1.1\nContent-Length: 2\n" + GET + "{}"),
    "a workflow": raw(f"GET /wfpredict/absent HTTP/1.1\n{GET}"),
}
MANAGING = {
    "no such model": ("GET", "/models/absent"),
    "no such path": ("GET", "/nothing"),
    "a registration": ("POST", "/models?url=http://127.0.0.1:9/x.mar"),
    "a default version": ("PUT", "/models/tiny/9.9/set-default"),
    "no number of workers": ("PUT", "/models/absent?min_worker=x"),
}


def response_to(port: int, request: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        parts = []
        with suppress(ConnectionResetError):  # TorchServe's way to close
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts).decode(errors="replace")


@pytest.mark.parametrize("name", REQUESTS)
def test_an_error_discloses_no_traceback_path_or_version(server: Server, name: str) -> None:
    response = response_to(server.ports[0], REQUESTS[name])
    assert response.startswith("HTTP/1.1 ")
    assert 400 <= int(response.split()[1]) < 600
    assert [secret for secret in inner_secrets() if secret in response] == []
    assert "\r\nserver: " not in response.lower()


def test_only_the_description_of_the_api_discloses_the_version(server: Server) -> None:
    """As SECURITY.md says; nothing turns it off."""
    for method, path in (("OPTIONS", "/"), ("GET", "/api-description")):
        status, headers, body = fetched(f"http://127.0.0.1:{server.ports[0]}{path}", method)
        assert status == 200
        assert [secret for secret in inner_secrets() if secret in f"{headers}{body.decode()}"] == ["0.12.0"]


@pytest.mark.parametrize("name", MANAGING)
def test_an_error_of_the_management_api_discloses_no_traceback_path_or_version(server: Server, name: str) -> None:
    method, path = MANAGING[name]
    status, headers, body = fetched(f"http://127.0.0.1:{server.ports[1]}{path}", method)
    assert status >= 400
    assert [secret for secret in inner_secrets() if secret in f"{headers}{body.decode()}"] == []
