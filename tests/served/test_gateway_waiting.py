"""The gateway waits for the server behind it: what it says, and what requests get meanwhile."""

from pathlib import Path

import httpx

from tests.served.conftest import Server, ready, starting
from tests.served.gateways import gateway_of
from tests.waiting import PATIENCE


def test_without_a_server_the_gateway_says_so(tmp_path: Path) -> None:
    nowhere = Server((1, 1, 1), "tiny")
    with (
        gateway_of(nowhere, tmp_path, says="waiting for the server at http://127.0.0.1:1: it takes no") as gateway,
        httpx.Client(base_url=gateway.url, timeout=PATIENCE) as client,
    ):
        assert client.get("/healthz").status_code == 200
        for method, path in (("GET", "/readyz"), ("POST", "/v1/segment"), ("POST", "/predictions/tiny"), ("GET", "/")):
            response = client.request(method, path, content=b"?" if method == "POST" else None)
            assert response.status_code == 503
            assert "isn't ready" in response.json()["error"]
            assert response.headers["Retry-After"]


def test_the_gateway_waits_for_its_server_and_says_so(archive: Path, tmp_path: Path) -> None:
    """It listens meanwhile, and is READY when /readyz is."""
    with (
        starting(tmp_path, "--archive", archive, PATH="") as server,
        gateway_of(server, tmp_path, says="waiting for the server at ") as gateway,
    ):
        assert httpx.get(f"{gateway.url}/readyz", timeout=PATIENCE).status_code == 503
        ready(server)
        assert gateway.process.stdout is not None
        lines = iter(gateway.process.stdout.readline, "")
        said = next(line for line in lines if not line.startswith("waiting for"))
        assert said.startswith(f"READY  {gateway.url}")
        assert httpx.get(f"{gateway.url}/readyz", timeout=PATIENCE).json()["workers"] == {"tiny": 1}


def test_a_gateway_that_waits_ends_when_it_is_stopped(tmp_path: Path) -> None:
    with gateway_of(Server((1, 1, 1), "tiny"), tmp_path, says="waiting for") as gateway:
        gateway.process.terminate()
        assert gateway.process.wait(PATIENCE) == 0


def test_a_server_whose_requests_cant_be_reached_is_not_ready(server: Server, tmp_path: Path) -> None:
    """The management port alone isn't enough."""
    with gateway_of(server, tmp_path, upstream="http://127.0.0.1:1", says="waiting for") as gateway:
        response = httpx.get(f"{gateway.url}/readyz", timeout=PATIENCE)
        assert response.status_code == 503
        assert "takes no connection" in response.json()["error"]
