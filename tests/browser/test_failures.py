"""Each failure says what happened and what to do."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.pages import drop, paste, upload
from tests.served.conftest import Server
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.extensive

ROUTE = "**/predictions/*"


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, opened. The browser's console names each failed request; an error of the script fails the test."""
    opened = browser.new_page()
    opened.set_default_timeout(1000 * PATIENCE)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(server.url)
    yield opened
    opened.close()
    assert errors == []


def of_torchserve(code: int, type_: str, message: str) -> str:
    return json.dumps({"code": code, "type": type_, "message": message})


@pytest.mark.parametrize(
    ("status", "body", "happened", "to_do"),
    [
        (
            503,
            of_torchserve(503, "ServiceUnavailableException", "Model tiny has no worker to serve inference request."),
            "The server is busy or just starting",
            "Try again in a moment",
        ),
        (404, of_torchserve(404, "ModelNotFoundException", "Model not found: tiny"), "no model of this name", "Reload"),
        (413, "", "larger than the server accepts", "Save it as a JPEG"),
        (401, "<h1>401</h1>", "requires a token", "by a command"),
        (504, "<h1>504</h1>", "took too long", "Try again"),
        (418, "teapot", "responded with status 418", "Try again"),
        (
            507,
            json.dumps({"error": "the server has not enough memory for this image", "expected": "a smaller image"}),
            "The server has not enough memory for this image.",
            "Expected: a smaller image. Then try again.",
        ),
    ],
)
def test_a_response_that_is_an_error(
    page: Page, image: Path, status: int, body: str, happened: str, to_do: str
) -> None:
    page.route(ROUTE, lambda route: route.fulfill(status=status, body=body))
    page.set_input_files("#file", image)
    wrong = page.locator("#status.wrong")
    expect(wrong).to_contain_text(happened)
    expect(wrong).to_contain_text(to_do)
    page.unroute(ROUTE)
    upload(page, image)  # the same file again
    expect(wrong).to_have_count(0)


def test_a_worker_that_ends_and_the_next_try(page: Page, server: Server, image: Path) -> None:
    told = page.locator("#status.wrong", has_text="The worker that had this image ended")
    done = page.locator("#timing", has_text="encode")
    for _ in range(5):  # the worker may be killed before it has the image: then the next one answers
        [pid] = wait_for(server.worker_pids, "a worker")
        os.kill(pid, signal.SIGSTOP)
        with page.expect_request(ROUTE):
            page.set_input_files("#file", image)
        page.wait_for_timeout(2000)
        os.kill(pid, signal.SIGKILL)
        expect(told.or_(done)).to_be_visible()
        if told.is_visible():
            break
    expect(told).to_contain_text("Try again in a moment")
    wait_for(lambda: pid not in server.worker_pids() and server.is_ready(), "the next worker")
    page.click("#retry")
    expect(done).to_be_visible()
    expect(page.locator("#retry")).to_be_hidden()


def test_a_server_that_does_not_respond(page: Page, image: Path) -> None:
    page.route(ROUTE, lambda route: route.abort())
    page.set_input_files("#file", image)
    expect(page.locator("#status.wrong")).to_contain_text("The server doesn't respond. Check that it runs")


def test_a_response_of_something_else(page: Page, image: Path) -> None:
    def login(route: Route) -> None:
        route.fulfill(status=200, content_type="text/html", body="<h1>Log in</h1>")

    page.route(ROUTE, login)
    page.set_input_files("#file", image)
    expect(page.locator("#status.wrong")).to_contain_text("What responded isn't this server")
    expect(page.locator("#status.wrong")).to_contain_text("Reload this page")


def test_the_servers_own_words_about_a_file(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "text.png")
    expect(page.locator("#status.wrong")).to_contain_text("neither an image in a supported file format nor JSON")
    expect(page.locator("#status.wrong")).to_contain_text(
        "Choose another file, or save the image anew: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF."
    )
    expect(page.locator("#status.wrong")).not_to_contain_text("curl")


def test_what_is_no_image_is_not_sent(page: Page, tmp_path: Path) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    wrong = page.locator("#status.wrong")
    drop(page, b"text", "notes.txt", "text/plain")
    expect(wrong).to_contain_text("notes.txt is no image: its type is text/plain. Drop an image")
    paste(page, b"text", "notes.txt", "text/plain")
    expect(wrong).to_contain_text("The clipboard holds no image. Copy an image")
    (tmp_path / "empty.png").write_bytes(b"")
    page.set_input_files("#file", tmp_path / "empty.png")
    expect(wrong).to_contain_text("empty.png is empty. Choose another file.")
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.setData("text/uri-list", "http://example.com/image.png");
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }""")
    expect(wrong).to_contain_text("This isn't a file. Save the image first")
    assert requests == []
