"""Starts Label Studio for the pictures and the tests: with SQLite, in a folder, with one user."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

EMAIL = "annotator@example.org"
PASSWORD = "a password for one run"
LEGACY_KEY = "0123456789abcdef0123456789abcdef01234567"
PATIENCE = 1800.0  # seconds; it makes its database first, which takes a minute of processor time


@dataclass(frozen=True)
class LabelStudio:
    """A running Label Studio."""

    url: str
    key: str  # a personal access token of its user
    browser: httpx.Client  # in which the user has logged in


@contextmanager
def running(python: str | Path, folder: Path) -> Iterator[LabelStudio]:
    """Label Studio, until the context ends.

    Args:
        python: of an environment with the package label-studio.
        folder: for its database, its images and its log.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(python).with_name("label-studio")), "start", "--no-browser", "--port", str(port)]
    command += ["--internal-host", "127.0.0.1", "--username", EMAIL, "--password", PASSWORD, "--user-token", LEGACY_KEY]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "COLLECT_ANALYTICS": "0",
        "LATEST_VERSION_CHECK": "0",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=url, timeout=PATIENCE) as browser:
            _wait(browser, process, folder / "log")
            yield LabelStudio(url, _log_in(browser), browser)
    finally:
        process.terminate()
        process.wait()


def _wait(browser: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if browser.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"Label Studio doesn't start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.5)


def _log_in(browser: httpx.Client) -> str:
    """Logs in, and makes a personal access token."""
    form = browser.get("/user/login/").text
    [secret] = re.findall('name="csrfmiddlewaretoken" value="([^"]+)"', form)
    fields = {"csrfmiddlewaretoken": secret, "email": EMAIL, "password": PASSWORD}
    assert browser.post("/user/login/", data=fields).status_code == httpx.codes.FOUND
    browser.headers["X-CSRFToken"] = browser.cookies["csrftoken"]
    key: str = browser.post("/api/token/").raise_for_status().json()["token"]
    return key
