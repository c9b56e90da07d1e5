"""Times the page in a real browser with a photograph of 24 megapixels and 100 detections: python -m bench.browser

It needs Chromium on the PATH. A step of the slider is measured from its event to the end of the frame that shows it.
"""

import io
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.making import make_archive
from tensormask_server.config_properties import PROPERTIES
from tensormask_server.options import HandlerOptions, Limits
from tensormask_server.torchserve.process import TorchServe
from tensormask_server.torchserve.properties import read_properties, with_addresses

from bench.networks import DEMO
from bench.tables import Table

SIZE = (6000, 4000)
IMAGE = Path(__file__).parents[1] / "demo/images/composed.jpg"
DETECTIONS = 100
PORTS = (18495, 18496, 18497)
PATIENCE = 600_000  # milliseconds
STEPS = """async () => {
    const slider = document.getElementById("threshold"), times = [];
    for (let step = 0; step <= 60; step++) {
        slider.value = step / 60;
        const start = performance.now();
        slider.dispatchEvent(new Event("input"));
        await new Promise((done) => requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = done;
            port2.postMessage(null);
        }));
        times.push(performance.now() - start);
    }
    return times;
}"""


def main() -> None:
    measure().show()


def measure() -> Table:
    table = Table(
        "browser",
        "The page with 24 megapixels and 100 detections",
        ("what", "measured"),
        "the demo's network, Chromium without a GPU, a window of 1100×900; a frame of the display takes 17 ms",
    )
    chromium = shutil.which("chromium")
    if chromium is None:
        table.rows.append(("nothing: there is no Chromium on the PATH", ""))
        return table
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        options = HandlerOptions(score_threshold=0.001, limits=Limits(largest_image=SIZE[0] * SIZE[1]))
        request = ArchiveRequest(
            DEMO / "config.yaml", DEMO / "weights.pkl", DEMO / "classes.txt", output=store, options=options
        )
        properties = with_addresses(read_properties(PROPERTIES), "127.0.0.1", *PORTS)
        with (
            TorchServe([make_archive(request)], properties, store / "logs") as server,
            sync_playwright() as playwright,
        ):
            server.wait_until_ready()
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 900})
            page.set_default_timeout(PATIENCE)
            page.goto(f"{server.url}/predictions/{server.names[0]}")
            table.rows.extend(measured(browser, page))
            browser.close()
    return table


def measured(browser: Browser, page: Page) -> list[tuple[str, float]]:
    rows = []
    page.set_input_files("#file", {"name": "image.jpg", "mimeType": "image/jpeg", "buffer": photograph()})
    page.wait_for_function("() => document.getElementById('timing').textContent.includes('encode')")
    assert page.evaluate("() => state.shown.instances.length") == DETECTIONS
    for what in ("masks", "masks and outlines"):
        page.set_checked("#outlines", what != "masks")
        times = np.array(page.evaluate(STEPS))
        rows.append((f"step of the slider, {what}, median, ms", float(np.median(times))))
        rows.append((f"step of the slider, {what}, longest, ms", float(times.max())))
    rows.append(("most memory of the renderer, MB", peak_memory(browser)))
    return rows


def photograph() -> bytes:
    content = io.BytesIO()
    with Image.open(IMAGE) as image:
        image.convert("RGB").resize(SIZE).save(content, "JPEG", quality=90)
    return content.getvalue()


def peak_memory(browser: Browser) -> float:
    """The most resident memory that one renderer had, in megabytes."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    texts = [Path(f"/proc/{each['id']}/status").read_text() for each in processes if each["type"] == "renderer"]
    peaks = [re.findall(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE) for text in texts]
    return max(int(peak) * 1024 / 1e6 for [peak] in peaks)


if __name__ == "__main__":
    main()
