"""axe-core finds nothing in any state of the page, and the keyboard alone reaches everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import set_threshold, upload
from tests.served.conftest import Server
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive


@pytest.fixture(
    params=[(1100, "light"), (1100, "dark"), (390, "light"), (390, "dark")], ids=lambda each: f"{each[0]}-{each[1]}"
)
def opened(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    )
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(server.url)
    expect(page.locator("#result")).to_be_visible()
    yield page
    page.close()


def assert_nothing_found(page: Page) -> None:
    """By all of axe-core's rules. It has to be part of the page for that, which the page's policy forbids."""
    results = Axe().run(page, options={"resultTypes": ["violations"]}).response
    found = {each["id"]: [node["html"] for node in each["nodes"]] for each in results["violations"]}
    assert found == {}
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0


def test_axe_finds_nothing(opened: Page, image: Path) -> None:
    assert_nothing_found(opened)
    for summary in opened.locator("summary").all():
        summary.click()
    assert_nothing_found(opened)
    for language in ("python", "javascript"):
        opened.click(f"#tab-{language}")
        assert_nothing_found(opened)
    set_threshold(opened, 0.99)
    assert_nothing_found(opened)
    set_threshold(opened, 0.1)
    upload(opened, image)
    assert_nothing_found(opened)


def test_axe_finds_nothing_while_a_response_is_awaited_and_after_a_failure(opened: Page, image: Path) -> None:
    waiting = []
    opened.route("**/predictions/*", lambda route: waiting.append(route))
    opened.set_input_files("#file", image)
    expect(opened.locator("#status")).to_contain_text("Sending")
    assert_nothing_found(opened)
    [route] = waiting
    route.fulfill(status=503, body="")
    expect(opened.locator("#status.wrong")).to_contain_text("busy")
    assert_nothing_found(opened)


def test_the_keyboard_reaches_everything(page: Page, image: Path) -> None:
    upload(page, image)
    for summary in page.locator("summary").all():
        summary.press("Enter")
    expected = {
        *("class-filter", "file", "threshold", "format", "download", "tab-curl", "panel-curl", "copy", "tiles", "most"),
        *("SUMMARY", "number-of-classes"),
    }
    reached: set[str] = set()
    page.evaluate("() => document.activeElement.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id || document.activeElement.tagName"))
        if reached >= expected:
            break
    assert reached >= expected


def test_an_image_is_sent_and_saved_by_the_keyboard_alone(page: Page) -> None:
    page.locator("#samples button").nth(1).press("Enter")
    expect(page.locator("#timing")).to_contain_text("120×90 pixels")
    with page.expect_download() as download:
        page.locator("#download").press("Enter")
    assert download.value.suggested_filename == "2-second_one.png.png"
