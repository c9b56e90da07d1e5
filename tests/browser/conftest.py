"""A real Chromium, Debian's, at a real server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from reference.cases import Case, load_case, write_weights
from tests.browser.pages import skip_without_chromium
from tests.served.conftest import ROOT, Server, launched
from tests.waiting import PATIENCE

NUM_CLASSES = 5  # of the tiny network
HOSTILE_NAME = "<img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="session")
def case() -> Case:
    return load_case("tiny")


@pytest.fixture(scope="session")
def server(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose class names are markup."""
    folder = tmp_path_factory.mktemp("browser")
    weights = write_weights(case, folder / "tiny.pkl")
    classes = folder / "classes.txt"
    classes.write_text("".join(f"{HOSTILE_NAME} {number}\n" for number in range(NUM_CLASSES)))
    command = [ROOT / "archive.sh", "--config", case.config, "--weights", weights, "--output", folder]
    command += ["--name", "tiny", "--classes", classes, "--threshold", "0.35"]
    command += ["--max-pixels", "40000", "--max-side", "300", "--samples", samples(case, folder / "samples")]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    with launched(folder, "--archive", folder / "tiny.mar", PATH="") as running:
        yield running


def samples(case: Case, folder: Path) -> Path:
    folder.mkdir()
    Image.fromarray(case.image).save(folder / "1-first.png")
    Image.fromarray(case.image[:90, :120]).save(folder / "2-second_one.png")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = skip_without_chromium()
    with sync_playwright() as playwright:
        # Chromium's own sandbox doesn't start for root
        milliseconds = 1000 * PATIENCE
        expect.set_options(timeout=milliseconds)
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=milliseconds)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, opened; whatever the browser complains about fails the test."""
    opened = browser.new_page(viewport={"width": 1200, "height": 800})
    opened.set_default_timeout(1000 * PATIENCE)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.goto(server.url)
    yield opened
    opened.close()
    expected = "the server responded with a status of 400"
    assert [text for text in complaints if expected not in text] == []


@pytest.fixture
def image(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / "it's an image.png"
    Image.fromarray(case.image).save(path)
    return path
