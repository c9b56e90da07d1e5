"""Where the log of requests goes: a file, or the launcher's stdout by way of a FIFO."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensormask_server.request_log import VARIABLE, RequestLog
from tensormask_server.torchserve.request_log_output import RequestLogError, request_log_output


def test_there_may_be_none(tmp_path: Path) -> None:
    with request_log_output("", tmp_path) as variables:
        assert variables == {}
    assert not list(tmp_path.iterdir())


def test_a_relative_path_is_that_of_the_launchers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with request_log_output("requests.jsonl", tmp_path) as variables:
        assert variables == {VARIABLE: str(tmp_path / "requests.jsonl")}


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name, said in (("absent/log", "No such file"), ("link", "symbolic link"), ("", "Is a directory")):
        with pytest.raises(RequestLogError, match=said) as caught, request_log_output(f"{tmp_path}/{name}", tmp_path):
            pass
        assert "--request-log FILE, or - for stdout" in str(caught.value)


def test_lines_for_stdout_are_printed_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with request_log_output("-", tmp_path) as variables:
        path = Path(variables[VARIABLE])
        assert path.stat().st_mode & 0o777 == 0o600
        log = RequestLog(path)
        for number in range(300):
            log.append({"number": number})  # all of them fit into the FIFO
    printed = capfd.readouterr().out
    assert printed == "".join(f'{{"number":{number}}}\n' for number in range(300))


CLOSED = """
import os, sys
from pathlib import Path
from tensormask_server.request_log import RequestLog
from tensormask_server.torchserve.request_log_output import request_log_output
with request_log_output("-", Path(sys.argv[1])) as variables:
    log = RequestLog(Path(*variables.values()))
    sys.stdin.read(1)  # until nobody reads stdout
    for number in range(100):
        log.append({"text": "x" * 3000})
os.write(2, b"ended")
os._exit(0)
"""


def test_a_stdout_that_nobody_reads_any_more_stops_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSED, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.stderr.read().endswith(b"ended")
        assert process.wait() == 0


def test_a_stdout_that_is_full_stops_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSED, tmp_path]
    reading, writing = os.pipe()  # nobody reads it, and nobody closes it
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.stderr.read().endswith(b"ended")
        assert process.wait() == 0
    os.close(reading)
    os.close(writing)
