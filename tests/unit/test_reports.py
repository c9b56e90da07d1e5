"""The workers' channel to the launcher."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensormask_server.reports import ADDRESS, SECRET, Report, Reports, report


@pytest.fixture
def reports() -> Iterator[Reports]:
    with tempfile.TemporaryDirectory(prefix="tm-") as folder, Reports(Path(folder)) as receiving:
        yield receiving


def test_what_a_worker_reports_comes(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in reports.environment.items():
        monkeypatch.setenv(name, value)
    assert reports.read() == []
    report("failed", "the reason")
    report("slow", "x" * 5000)
    own = os.getpid()  # as the kernel says, whatever is in the message
    assert reports.read() == [Report("failed", "the reason", own), Report("slow", "x" * 1000, own)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b'["failed", "x"]',
        b'\n["failed", "x"]',
        b'guessed\n["failed", "x"]',
        b'\xff\n["failed", "x"]',
        b"[" * 60000,
        b"guessed\n" + b"[" * 60000,
    ],
)
def test_what_has_no_secret_does_not_count(reports: Reports, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.sendto(content, reports.environment[ADDRESS])
    assert reports.read() == []


def test_a_launcher_that_does_not_read_holds_no_worker_up(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in reports.environment.items():
        monkeypatch.setenv(name, value)
    for _ in range(10_000):
        report("slow", "x" * 1000)
    assert len(reports.read()) > 0


def test_without_a_launcher_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.delenv(SECRET, raising=False)
    report("failed", "x")
