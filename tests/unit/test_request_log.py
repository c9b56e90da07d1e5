"""The log of requests: whole lines of several processes, whatever happens to the file."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensormask_server.request_log import LONGEST_LINE, VARIABLE, RequestLog, check_log_file

WRITER = """
import sys
from pathlib import Path
from tensormask_server.request_log import RequestLog
log = RequestLog(Path(sys.argv[1]))
for number in range(500):
    log.append({"writer": int(sys.argv[2]), "number": number, "text": "é\\n" * number})
"""

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tensormask_server.request_log import RequestLog
log = RequestLog(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (40, most))
for number in range(6):
    log.append({"number": number})
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
for number in range(6, 8):
    log.append({"number": number})
"""


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "log"
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(number)]) for number in range(4)]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    records = lines(path)
    for writer in range(4):
        assert [record["number"] for record in records if record["writer"] == writer] == list(range(500))


def test_a_line_behind_one_that_a_full_disk_has_cut_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    subprocess.run([sys.executable, "-c", FULL_DISK, path], check=True)
    whole, cut, behind = '{"number":0}\n{"number":1}\n{"number":2}\n', "{", '\n{"number":6}\n{"number":7}\n'
    assert path.read_text("ascii") == whole + cut + behind


def test_a_renamed_or_cut_file_is_no_matter(tmp_path: Path) -> None:
    """As logrotate does it, with create or copytruncate, and without a signal."""
    path = tmp_path / "log"
    log = RequestLog(path)
    log.append({"line": 1})
    path.rename(tmp_path / "log.1")
    log.append({"line": 2})
    assert (lines(tmp_path / "log.1"), lines(path)) == ([{"line": 1}], [{"line": 2}])
    os.truncate(path, 0)
    log.append({"line": 3})
    assert lines(path) == [{"line": 3}]
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


@pytest.mark.parametrize("obstacle", ["a folder", "a link", "no folder", "a pipe that nobody reads", "a full pipe"])
def test_a_line_that_can_not_be_written_is_lost_and_said_once(
    obstacle: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    reading = None
    if obstacle == "a folder":
        path.mkdir()
    elif obstacle == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif obstacle == "no folder":
        path = tmp_path / "absent" / "log"
    else:
        os.mkfifo(path)
    if obstacle == "a full pipe":
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = RequestLog(path)
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            log.append({"text": "x" * (LONGEST_LINE - 100)})
    assert ["lines are lost" in record.getMessage() for record in caplog.records] == [True]
    assert not (tmp_path / "elsewhere").exists()
    if reading is not None:
        content = os.read(reading, 1 << 20)
        os.close(reading)
        assert all(json.loads(line) for line in content.splitlines())  # whole ones


def test_a_line_that_is_too_long_is_lost(tmp_path: Path) -> None:
    RequestLog(tmp_path / "log").append({"text": "x" * LONGEST_LINE})
    assert not (tmp_path / "log").exists()


def test_the_log_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert RequestLog.of_environment() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "log"))
    log = RequestLog.of_environment()
    assert log is not None
    log.append({})
    assert lines(tmp_path / "log") == [{}]


def test_a_file_is_made_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    check_log_file(path)
    path.write_text("before\n")
    check_log_file(path)
    assert path.read_text() == "before\n"


@pytest.mark.parametrize("obstacle", ["a folder", "a link", "a pipe", "a device", "no folder"])
def test_what_is_no_file_is_refused(obstacle: str, tmp_path: Path) -> None:
    path = {"a device": Path("/dev/null"), "no folder": tmp_path / "absent" / "log"}.get(obstacle, tmp_path / "log")
    if obstacle == "a folder":
        path.mkdir()
    elif obstacle == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif obstacle == "a pipe":
        os.mkfifo(path)
    with pytest.raises(OSError):
        check_log_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionError, match="another user"):
        check_log_file(path)
