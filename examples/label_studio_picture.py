"""Takes the picture of Label Studio's screen for labelling, for examples/pictures.py."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import sync_playwright

from examples.label_studio_project import connect, fetch_predictions, labelling_config, make_project, session, tasks
from examples.label_studio_server import EMAIL, PASSWORD, LabelStudio, running
from examples.moving_drawings import DRAWINGS

PATIENCE = 300.0  # seconds
WINDOW = {"width": 1240, "height": 760}  # pixels


def take(python: str, url: str, management_port: str, image: Path, picture: Path) -> None:
    """Starts Label Studio and a gateway, fetches predictions for an image, and takes a picture of them.

    Args:
        python: of an environment with Label Studio.
        url: of the demo's network on a running server.
        management_port: of that server.
        image: a file with drawings.
        picture: the file to write.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("pictures: there is no Chromium on the PATH: apt-get install chromium")
    folder = picture.with_suffix("")
    with running(python, folder) as server, _gateway(url, management_port, server, folder / "token") as gateway:
        with session(server.url, server.key) as http:
            config = labelling_config("BrushLabels", sorted({each.name for each in DRAWINGS}))
            project = make_project(http, "Drawings", config, [image])
            connect(http, project, gateway)
            fetch_predictions(http, project)
            [task] = tasks(http, project)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]  # it is such a dictionary
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(f"{server.url}/user/login/")
            page.fill("input[name=email]", EMAIL)
            page.fill("input[name=password]", PASSWORD)
            page.click("button[type=submit]")
            page.wait_for_load_state()
            page.goto(f"{server.url}/projects/{project}/data?task={task['id']}")
            page.get_by_text(f"{task['predictions'][0]['result'][-1]['score']:.2f}").last.wait_for()
            page.wait_for_timeout(3000)  # masks are drawn
            page.screenshot(path=picture)
            browser.close()


@contextmanager
def _gateway(url: str, management_port: str, server: LabelStudio, token: Path) -> Iterator[str]:
    """A gateway before the server of a URL, which fetches images from Label Studio; yields its URL."""
    token.write_text(server.key)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own, upstream = f"http://127.0.0.1:{port}", f"http://{urlsplit(url).netloc}"
    command = [sys.executable, "-m", "tensormask_server.gateway", "--port", str(port), "--upstream", upstream]
    command += ["--management-port", management_port, "--request-log", ""]
    command += ["--label-studio", server.url, "--label-studio-token-file", str(token)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not _is_ready(own):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the gateway doesn't start; it printed why")
            time.sleep(0.2)
        yield own
    finally:
        process.terminate()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=PATIENCE).is_success
    except httpx.TransportError:
        return False
