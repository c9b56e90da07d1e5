"""The client's token: from a file or the environment, never from the command line; read again when it is refused."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from tensormask_server.client import Client, WrongToken
from tensormask_server.client.__main__ import main
from tensormask_server.tokens import TokenError, TokenFile, checked_token, read_token

pytestmark = pytest.mark.attack(8, "tokens seen by other users, and key files that mean ill")

PIXEL = np.zeros((1, 2, 3), np.uint8)
RESPONSE = json.dumps({"instances": [], "width": 2, "height": 1, "model": "m", "weights_sha256": "0"}).encode()
REFUSED = b'{"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."}'


class Server(HTTPServer):
    """Answers requests with one token, and refuses others as TorchServe does."""

    token: str
    seen: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(self.headers["Authorization"])
        is_good = self.headers["Authorization"] == f"Bearer {self.server.token}"
        self.send_response(200 if is_good else 400)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(RESPONSE if is_good else REFUSED)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.token, server.seen = "good", []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/predictions/x"


def key_file(path: Path, token: str) -> Path:
    """As TorchServe writes it."""
    keys = {name: {"key": f"{token}-{name}"} for name in ("management", "API")}
    path.write_text(json.dumps({**keys, "inference": {"key": token, "expiration time": "2026-01-01T00:00:00Z"}}))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "one.jpg"
    path.write_bytes(b"image")
    return path


def test_a_file_holds_only_a_token_or_torchserves_keys(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" good\n")
    assert read_token(tmp_path / "token") == "good"
    assert read_token(key_file(tmp_path / "key_file.json", "good")) == "good"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"secret word",
        b"secret\nX: y",
        b"\xff",
        b"{",
        b"{}",
        b'{"inference": 7}',
        b'{"inference": {}}',
        b'{"inference": {"key": 7}}',
        b'{"inference": {"key": "secret\\r\\nX: y"}}',
        b'{"inference": ' * 4000,
        b"secret" * 1_000_000,
    ],
)
def test_a_file_without_a_token_is_reported_and_what_it_holds_is_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TokenError, match=r"the token file .*; expected a regular file with only the token") as caught:
        TokenFile(path)
    assert "secret" not in str(caught.value)


def test_an_absent_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match=r"can't read the token file .*absent: No such file"):
        TokenFile(tmp_path / "absent")


def test_spaces_around_a_token_are_not_sent() -> None:
    assert checked_token("good\n") == "good"


def test_a_refused_token_is_read_again_from_its_file(server: Server, url: str, tmp_path: Path) -> None:
    path = key_file(tmp_path / "key_file.json", "old")
    client = Client(url, token=TokenFile(path), waits=(0.0,))
    key_file(path, "good")
    assert len(client.predict(PIXEL)) == 0
    assert server.seen == ["Bearer old", "Bearer good"]
    server.token = "newer"
    with pytest.raises(WrongToken, match="--token-file"):
        client.predict(PIXEL)
    key_file(path, "newer")
    assert len(client.predict(PIXEL)) == 0


def test_a_token_file_that_is_gone_or_half_written_keeps_the_first_error(url: str, tmp_path: Path) -> None:
    path = key_file(tmp_path / "key_file.json", "old")
    client = Client(url, token=TokenFile(path), waits=(0.0,))
    path.write_text('{"inference": {"ke')
    with pytest.raises(WrongToken):
        client.predict(PIXEL)
    path.unlink()
    with pytest.raises(WrongToken):
        client.predict(PIXEL)


def test_the_command_takes_the_token_from_the_file_or_the_environment(
    server: Server, url: str, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [str(image), "--url", url]
    monkeypatch.setenv("TENSORMASK_TOKEN", "good\n")
    assert main([*command, "--out", str(tmp_path / "1")]) == 0
    monkeypatch.setenv("TENSORMASK_TOKEN", "other")
    path = key_file(tmp_path / "key_file.json", "good")
    assert main([*command, "--out", str(tmp_path / "2"), "--token-file", str(path)]) == 0
    monkeypatch.setenv("TENSORMASK_TOKEN", "")
    assert main([*command, "--out", str(tmp_path / "3")]) == 2
    assert server.seen == ["Bearer good", "Bearer good", None]


def test_a_token_that_can_not_be_used_is_one_line(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TENSORMASK_TOKEN", "secret\nX: y")
    assert main([str(image), "--out", str(tmp_path / "out")]) == 2
    assert main([str(image), "--out", str(tmp_path / "out"), "--token-file", str(tmp_path / "absent")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "the token is empty, or has a space" in first
    assert "secret" not in first
    assert "can't read the token file" in second


@pytest.mark.parametrize("command", [["-m", "tensormask_server.client", "x", "--out", "y"], ["bench/evaluate.py"]])
@pytest.mark.parametrize("spelling", [["--token", "secret"], ["--token=secret"], ["--token"]])
def test_a_token_on_the_command_line_is_refused(command: list[str], spelling: list[str]) -> None:
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, *command, *spelling], capture_output=True, text=True, cwd=root, timeout=300
    )
    assert result.returncode == 2
    assert "--token is no longer an option" in result.stderr
    assert "give --token-file FILE, or set the environment variable TENSORMASK_TOKEN" in result.stderr
    assert "secret" not in result.stderr
