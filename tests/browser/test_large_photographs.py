"""Photographs of 24 megapixels with a hundred detections: what the server takes, and the browser's memory."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import set_threshold, settle
from tests.served.conftest import ROOT, Server, launched, send
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

SIZE = (6000, 4000)
MOST_BYTES = 500_000_000
LOW = "0.05"  # as a threshold, it gives a hundred detections


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's image side by side with itself, so that the demo's network detects more than a hundred instances."""
    path = tmp_path_factory.mktemp("photograph") / "photograph.jpg"
    large = Image.new("RGB", SIZE)
    with Image.open(ROOT / "demo/images/composed.jpg") as image:
        enlarged = image.convert("RGB").resize((1000, 1000))
    for top in range(0, SIZE[1], 1000):
        for left in range(0, SIZE[0], 1000):
            large.paste(enlarged, (left, top))
    large.save(path, quality=90)
    return path


@pytest.fixture(scope="module")
def large_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that takes photographs because of one option."""
    options = ["--largest-image", SIZE[0] * SIZE[1], "--threshold", LOW, "--response-timeout", 1200]
    with launched(tmp_path_factory.mktemp("large"), "--model", "demo", *options) as running:
        yield running


def test_one_option_makes_a_server_take_a_photograph(large_server: Server, photograph: Path) -> None:
    request = urllib.request.Request(large_server.url, photograph.read_bytes(), {"Content-Type": "image/jpeg"})
    response = send(request)
    assert response.status == 200, response.body[:300]
    content = json.loads(response.body)
    assert (content["width"], content["height"]) == SIZE
    assert len(content["instances"]) == 100


def test_the_browser_stays_below_500_mb(browser: Browser, large_server: Server, photograph: Path) -> None:
    """Its renderer, from the page's start until the image was enlarged and sent again."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(large_server.url)
    for _ in range(2):
        show(page, photograph)
        assert page.evaluate("() => [state.shown.width, state.shown.height]") == list(SIZE)
        assert page.evaluate("() => state.shown.body === state.shown.file")
        expect(page.locator("#count")).to_have_text("100 instances")
        page.check("#outlines")
        page.locator("#canvas").focus()
        for _ in range(8):
            page.keyboard.press("+")
        for threshold in (0.5, 0.3, float(LOW)):
            set_threshold(page, threshold)
            settle(page)
    assert peak_memory(browser) < MOST_BYTES
    page.close()


@pytest.mark.parametrize("kind", ["progressive", "webp"])
def test_a_photograph_that_is_not_read_in_parts_is_sent_as_one_that_is(
    browser: Browser, large_server: Server, photograph: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"photograph.{'webp' if kind == 'webp' else 'jpg'}"
    with Image.open(photograph) as image:
        image.save(path, progressive=kind == "progressive", method=0)
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(large_server.url)
    show(page, path)
    assert page.evaluate("() => [state.shown.width, state.shown.height]") == list(SIZE)
    expect(page.locator("#timing")).not_to_contain_text("Made smaller")
    page.close()


def test_what_the_server_does_not_take_is_made_smaller_and_shown_whole(page: Page, photograph: Path) -> None:
    show(page, photograph)
    expect(page.locator("#timing")).to_contain_text("Made smaller for this server: 244×163 pixels")
    assert page.evaluate("() => [state.shown.picture.width, state.shown.picture.height]") == list(SIZE)


def test_the_error_names_the_one_option(server: Server, photograph: Path) -> None:
    response = send(urllib.request.Request(server.url, photograph.read_bytes(), {"Content-Type": "image/jpeg"}))
    assert response.status == 400
    assert "--largest-image" in json.loads(response.body)["expected"]


def show(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)
    expect(page.locator("#timing")).to_contain_text("encode")
    settle(page)


def peak_memory(browser: Browser) -> int:
    """The most resident memory that one renderer had, in bytes."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    peaks = []
    for pid in (each["id"] for each in processes if each["type"] == "renderer"):
        status = Path(f"/proc/{pid}/status").read_text()
        [peak] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        peaks.append(1024 * int(peak))
    return max(peaks)
