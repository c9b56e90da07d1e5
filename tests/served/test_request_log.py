"""The ids of requests and the log of requests, with real workers."""

import json
import re
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reference.cases import Case
from tests.served.conftest import Server, launched, request_body
from tests.served.plain import plain_torchserve
from tests.waiting import PATIENCE, wait_for

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def sent(server: Server, *arguments: object, body: bytes = b"{", path: str = "") -> tuple[int, dict[str, str]]:
    """The status and the headers, their names in small letters."""
    command = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-D",
        "-",
        "--data-binary",
        "@-",
        "-H",
        "Content-Type:",
        "-H",
        "Expect:",
    ]
    words = [*command, *map(str, arguments), f"{server.url}{path}"]
    printed = subprocess.run(words, input=body, capture_output=True, check=True, timeout=PATIENCE).stdout.decode()
    status, *lines = printed.strip().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(status.split()[1]), {name.lower(): value for name, _, value in pairs}


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_the_clients_id_comes_back(server: Server, case: Case) -> None:
    for body, status in ((request_body(case.image), 200), (b"{", 400)):
        assert sent(server, "-H", "X-Request-ID: a/1:2", body=body)[0] == status
        assert sent(server, "-H", "X-Request-ID: a/1:2", body=body)[1]["x-request-id"] == "a/1:2"
        headers = sent(server, body=body)[1]
        assert UUID.fullmatch(headers["x-request-id"])
        assert headers["x-request-id"] == headers["x-torchserve-request-id"]


@pytest.mark.parametrize("id", ["a b", "a\tb", "a\x1b[2Jb", "é", "x" * 129])
def test_an_id_that_can_not_be_repeated_is_replaced(server: Server, id: str) -> None:
    status, headers = sent(server, "-H", f"X-Request-ID: {id}")
    assert status == 400
    assert UUID.fullmatch(headers["x-request-id"])


def test_torchserves_own_errors_have_only_its_id(server: Server) -> None:
    status, headers = sent(server, "-H", "X-Request-ID: mine", path="-absent")
    assert status == 404
    assert "x-request-id" not in headers
    assert UUID.fullmatch(headers["x-torchserve-request-id"])


def test_each_request_is_one_line_whichever_worker_answers(archive: Path, case: Case, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    good = request_body(case.image)
    with launched(tmp_path, "--archive", archive, "--request-log", path.name, PATH="", OMP_NUM_THREADS="1") as server:
        server.manage("?min_worker=2&max_worker=2", "PUT")
        wait_for(lambda: len(server.worker_pids()) == 2, "two workers")

        def ask(number: int) -> int:
            return sent(server, "-H", f"X-Request-ID: {number}", body=b"{" if number % 3 else good)[0]

        with ThreadPoolExecutor(6) as clients:
            statuses = list(clients.map(ask, range(24)))
        path.rename(tmp_path / "requests.jsonl.1")  # as logrotate does it
        sent(server, "-H", 'X-Request-ID: "}\\', "-H", "Score-Threshold: \x1b[2J\x7f", body=good)
        urllib.request.urlopen(urllib.request.Request(server.url, headers={"Accept": "text/html"})).read()
    lines = records((tmp_path / "requests.jsonl.1").read_text())
    assert sorted(int(line["id"]) for line in lines) == list(range(24))
    assert {int(line["id"]): line["status"] for line in lines} == dict(enumerate(statuses))
    done = next(line for line in lines if line["status"] == 200)
    assert (done["model"], done["images"], done["format"], done["error"]) == ("tiny", 1, "torch", None)
    assert list(done["milliseconds"]) == ["decode", "resize", "network", "masks", "encode"]
    assert done["bytes_in"] == len(good)
    text = path.read_text()
    bad, page = records(text)
    assert (bad["id"], bad["status"], bad["reason"]) == ('"}\\', 400, "option")
    assert (page["status"], page["images"]) == (200, 0)
    assert text.replace("\n", "").isprintable()
    assert text.isascii()


def test_the_lines_may_go_to_stdout(archive: Path, tmp_path: Path) -> None:
    with launched(tmp_path, "--archive", archive, "--request-log", "-", PATH="", OMP_NUM_THREADS="1") as server:
        for number in range(3):
            sent(server, "-H", f"X-Request-ID: {number}")
        assert server.process is not None
        assert server.process.stdout is not None
        server.process.terminate()
        lines = server.process.stdout.read()
        assert server.process.wait(PATIENCE) == 0
    assert [record["id"] for record in records(lines)] == ["0", "1", "2"]
    assert lines.endswith("stopped\n")


def test_a_file_that_can_not_be_written_is_named_before_the_start(archive: Path, tmp_path: Path) -> None:
    said = r"can't write the log of requests to .*absent/log: No such file"
    start = launched(tmp_path, "--archive", archive, "--request-log", "absent/log", PATH="")
    with pytest.raises(pytest.fail.Exception, match=said), start:
        pass


def test_with_torchserves_own_command_an_environment_variable_names_the_file(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORMASK_SERVER_REQUEST_LOG", str(tmp_path / "log"))
    with plain_torchserve(archive) as server:
        _, headers = sent(server, "-H", "X-Request-ID: mine")
        [record] = records((tmp_path / "log").read_text())
    assert record["id"] == "mine"
    assert UUID.fullmatch(headers["x-request-id"])  # TorchServe puts its own there
