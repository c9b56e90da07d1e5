"""GET /v1/models of the gateway, before a server that answers as workers of older archives and of a busy server do."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from starlette.types import Receive, Scope, Send
from tensormask_server.gateway.application import application
from tensormask_server.gateway.settings import Settings

DESCRIBED = {"name": "new", "classes": ["cat"]}


class _Server(BaseHTTPRequestHandler):
    """The management API and the models `old` and `new`."""

    busy = False

    def do_GET(self) -> None:
        workers = [{"workers": [{"status": "READY"}]}]
        answers = {
            "/models": (200, "application/json", {"models": [{"modelName": "new"}, {"modelName": "old"}]}),
            "/models/new": (200, "application/json", workers),
            "/models/old": (200, "application/json", workers),
            "/new/predict": (200, "application/vnd.tensormask.model+json", DESCRIBED),
            "/old/predict": (400, "application/json", {"error": "the request has no body", "expected": "an image"}),
        }
        status, content_type, content = answers[self.path]
        if self.busy and self.path == "/new/predict":
            status, content = 503, {"code": 503, "type": "ServiceUnavailableException", "message": "queue is full"}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 400:
            self.send_header("X-Instance-Count", "0")  # which each response of a worker has
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def listed_by_gateway(handler: type[_Server]) -> httpx.Response:
    """What a gateway before such a server answers to GET /v1/models."""

    async def get(port: int) -> httpx.Response:
        app = application(Settings(f"http://127.0.0.1:{port}", port))

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:  # as uvicorn calls it
            await app({**scope, "state": {}}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.get("/v1/models")

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return asyncio.run(get(server.server_address[1]))
        finally:
            server.shutdown()


def test_a_model_whose_worker_knows_no_description_has_only_its_name() -> None:
    response = listed_by_gateway(_Server)
    assert response.status_code == 200
    content = response.json()
    assert content["models"] == [DESCRIBED, {"name": "old"}]
    assert list(content["data"]) == ["new", "old"]


def test_a_busy_server_is_a_503_that_says_when_to_come_again() -> None:
    class Busy(_Server):
        busy = True

    response = listed_by_gateway(Busy)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.json()["expected"] == "the same request again in a moment"
