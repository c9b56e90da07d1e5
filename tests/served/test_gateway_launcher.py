"""tensormask-server --gateway: one command for both, with tokens and without."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest
from tensormask_server.launcher.command import main
from tensormask_server.openapi.bodies import SAMPLE

from tests.served.conftest import LAUNCHER, Server, free_ports, is_listening, launched
from tests.waiting import PATIENCE, wait_for

ORIGIN = "https://pages.example.org"
PIXEL = b'{"img_data": [[[1]],[[2]],[[3]]]}'


def gateway_process(server: Server) -> psutil.Process:
    [process] = [each for each in server.processes() if "tensormask_server.gateway" in each.cmdline()]
    return process


def test_both_start_and_end_together_and_tokens_hold_through_the_gateway(archive: Path, tmp_path: Path) -> None:
    [port] = free_ports(1)
    log = tmp_path / "requests.jsonl"
    options = ("-h", "0.0.0.0", "--gateway", port, "--cors-origin", ORIGIN, "--request-log", log)
    with launched(tmp_path, "--archive", archive, *options, PATH="") as server:
        wait_for(lambda: is_listening(port), "the gateway")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            assert client.get("/readyz").json()["workers"] == {"tiny": 1}
            without = client.post("/v1/segment", content=PIXEL)
            assert without.status_code == 401
            assert without.headers["WWW-Authenticate"] == "Bearer"
            assert "token" in without.json()["error"]
            token = {"Authorization": f"Bearer {server.keys()['inference']}", "X-Request-ID": "same"}
            for path in ("/v1/segment", "/predictions/tiny", "/model/"):
                assert client.post(path, content=PIXEL, headers=token).status_code == 200
            key = {"Token": server.keys()["inference"]}  # as X-AnyLabeling sends it
            shapes = {"model": "tiny", "image": SAMPLE}
            assert client.get("/v1/models").status_code == 401
            assert list(client.get("/v1/models", headers=key).json()["data"]) == ["tiny"]
            assert client.post("/v1/predict", json=shapes, headers=key).status_code == 200
            for headers in ({"Token": ""}, {"Token": "x"}, {}):
                refused = client.post("/v1/predict", json=shapes, headers=headers)
                assert refused.status_code == 401
                assert refused.json()["error"]["code"] == "UNAUTHORIZED"
            asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
            preflight = client.options(
                "/v1/segment", headers={**asked, "Access-Control-Request-Headers": "authorization"}
            )
            assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN  # without a token
        records = wait_for(
            lambda: (
                [each for each in map(json.loads, log.read_text().splitlines()) if each["id"] == "same"][5:]
                and [json.loads(line) for line in log.read_text().splitlines()]
            ),
            "two lines for each request",
        )
        assert {each.get("at") for each in records if each["id"] == "same"} == {"gateway", None}
        process, gateway = server.process, gateway_process(server)
        assert process is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert not gateway.is_running()


def test_the_server_ends_with_its_gateway(archive: Path, tmp_path: Path) -> None:
    [port] = free_ports(1)
    with launched(tmp_path, "--archive", archive, "--gateway", port, PATH="") as server:
        assert server.process is not None
        assert server.process.stdout is not None
        lines = iter(server.process.stdout.readline, "")
        tried = next(line for line in lines if line.startswith("Try:"))
        assert tried.endswith(f"-T IMAGE.jpg -o masks.png 'http://127.0.0.1:{port}/v1/segment?format=png'\n")
        assert next(lines) == f"       or open http://127.0.0.1:{port}/ in a browser\n"
        assert any(f"Docs:  http://127.0.0.1:{port}/docs" in line for line in lines)  # its last one before it serves
        os.kill(gateway_process(server).pid, signal.SIGKILL)
        assert server.process.wait(PATIENCE) == 1
        assert "the gateway has ended" in server.process.stdout.read()


def test_the_gateway_ends_with_a_killed_launcher(archive: Path, tmp_path: Path) -> None:
    [port] = free_ports(1)
    with launched(tmp_path, "--archive", archive, "--gateway", port, PATH="") as server:
        wait_for(lambda: is_listening(port), "the gateway")
        assert server.process is not None
        server.process.kill()
        wait_for(lambda: not is_listening(port), "the gateway's end")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gateway", "8080"], "another port of the server"),
        (["--cors-origin", ORIGIN], "give --gateway PORT"),
        (["--label-studio", "http://127.0.0.1:8090"], "give --gateway PORT"),
        (["--gateway", "8000", "--label-studio-token-file", "token"], "needs --label-studio URL"),
        (["--gateway", "8000", "--certificate", "a.pem", "--key", "b.pem"], "let a proxy do TLS"),
        (["--gateway", "8000", "--cors-origin", "*"], "is not an origin"),
    ],
)
def test_wrong_arguments_get_a_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--archive", "a.mar", *arguments])
    assert raised.value.code == 2
    assert re.sub(r"\s+", " ", said) in capsys.readouterr().err


def test_a_taken_port_is_named_before_the_start(archive: Path, tmp_path: Path, server: Server) -> None:
    ports = free_ports(3)
    command = [str(word) for word in ("-p", ports[0], "--management-port", ports[1], "--metrics-port", ports[2])]
    command += ["--archive", str(archive), "--gateway", str(server.ports[0]), "--logs", str(tmp_path)]
    result = subprocess.run([LAUNCHER, *command], capture_output=True, text=True)
    assert result.returncode == 1
    assert "choose another with --gateway PORT" in result.stderr
