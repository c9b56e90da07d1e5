"""A page of another origin in a real browser, which sends to the management port what browsers let any page send."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.served.conftest import Server

pytestmark = [pytest.mark.extensive, pytest.mark.attack(1, "a page of another origin in Chromium")]

SENDING = """
async ([management, paths]) => {
  const outcomes = [];
  for (const path of paths) {
    for (const [method, mode] of [["GET", "no-cors"], ["POST", "no-cors"], ["PUT", "cors"], ["DELETE", "cors"]]) {
      try {
        const response = await fetch(management + path, {method, mode});
        outcomes.push(response.type === "opaque" ? "opaque" : response.status);
      } catch {
        outcomes.push("refused");
      }
    }
  }
  const form = document.createElement("form");
  form.method = "POST";
  form.action = management + paths[0];
  document.body.append(form);
  form.submit();
  return outcomes;
}
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a stranger's page."""
    folder = tmp_path_factory.mktemp("elsewhere")
    Path(folder / "index.html").write_text("<!doctype html><title>elsewhere</title><body></body>")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/"
        web.shutdown()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "anything.localhost"])
def test_a_page_of_elsewhere_changes_no_number_of_workers(
    browser: Browser, server: Server, elsewhere: str, host: str
) -> None:
    page = browser.new_page()
    page.goto(elsewhere.replace("127.0.0.1", host))
    paths = [f"/models/{server.name}?min_worker=2&max_worker=2", "/workflows?url=x.war", "/models?url=x.mar"]
    with page.expect_navigation():  # of the form
        outcomes = page.evaluate(SENDING, [f"http://{host}:{server.ports[1]}", paths])
    assert set(outcomes) <= {"opaque", "refused"}  # no response can be read
    assert "error" in page.inner_text("body")
    page.close()
    [described] = server.manage()
    assert (described["minWorkers"], described["maxWorkers"]) == (1, 1)


def test_a_name_that_leads_here_opens_nothing(browser: Browser, server: Server) -> None:
    """As after a stranger's name was made to point to 127.0.0.1: to the browser page and port are one origin."""
    page = browser.new_page()
    page.goto(f"http://anything.localhost:{server.ports[1]}/models")
    path = f"/models/{server.name}?min_worker=2&max_worker=2"
    status = page.evaluate("async path => (await fetch(path, {method: 'PUT'})).status", path)
    assert status == 403
    page.close()
    [described] = server.manage()
    assert (described["minWorkers"], described["maxWorkers"]) == (1, 1)
