"""The page and the API's description through the gateway, and a page of another origin that may send."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.served.conftest import Server
from tests.served.gateways import RunningGateway, gateway_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

SEND = """
async ([url, token]) => {
  const body = '{"img_data": [[[1]],[[2]],[[3]]], "format": "coco"}';
  try {
    const headers = {Authorization: token, "Score-Threshold": "0.5"};
    const response = await fetch(url, {method: "POST", body, headers});
    return [response.status, response.headers.get("X-Request-ID") !== null, (await response.json()).width];
  } catch {
    return "refused";
  }
}
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of another page."""
    folder = tmp_path_factory.mktemp("elsewhere")
    Path(folder / "index.html").write_text("<!doctype html><title>elsewhere</title><body></body>")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


@pytest.fixture(scope="module")
def gateway(server: Server, elsewhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway_of(server, tmp_path_factory.mktemp("gateway"), "--cors-origin", elsewhere) as running:
        yield running


def test_the_page_segments_an_image_through_the_gateway(browser: Browser, gateway: RunningGateway, image: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(f"{gateway.url}/")
    page.set_input_files("#file", image)
    expect(page.locator("#result")).to_be_visible()
    assert complaints == []
    page.close()


def test_the_description_loads_nothing_and_the_browser_complains_of_nothing(
    browser: Browser, gateway: RunningGateway
) -> None:
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{gateway.url}/docs")
    assert page.locator("#segment_image").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('pre')).overflowX") == "auto"  # its styles hold
    assert [url for url in asked if not url.endswith("/favicon.ico")] == [f"{gateway.url}/docs"]
    assert [text for text in complaints if "favicon" not in text and "404" not in text] == []
    page.close()


def test_only_a_page_of_the_named_origin_may_send(browser: Browser, gateway: RunningGateway, elsewhere: str) -> None:
    page = browser.new_page()
    for origin, expected in ((elsewhere, [200, True, 1]), (elsewhere.replace("127.0.0.1", "localhost"), "refused")):
        page.goto(origin)
        assert page.evaluate(SEND, [f"{gateway.url}/v1/segment", "Bearer x"]) == expected
    page.close()
