"""Screenshots of the page for browsers, of a real server with the demo's model: python -m demo.screenshots

It writes each state of the page at two widths and in both colour schemes, and two pictures of them for the
documentation. It needs the package playwright, and a Chromium on the PATH.
"""

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tensormask_server.torchserve.process import TorchServe
from tensormask_server.torchserve.properties import read_properties, with_addresses

from demo.steps import ABOUT, MODEL, ROOT, THRESHOLD, free_ports

PAGE = ROOT / "demo" / "images" / "page.png"  # 20 drawings
WIDTHS = {1100: 1000, 390: 844}  # of windows, and their heights, in pixels
SCHEMES = ("light", "dark")
PATIENCE = 120_000  # ms
SCALE = 0.45  # of the pictures in the overview
QUALITY = 70  # of WebP
GAP = 24  # pixels between the pictures of the overview

# --- the states of the page ------------------------------------------------------------------------------------------


def empty(page: Page) -> None:
    """Of a model without samples."""


def waiting(page: Page) -> None:
    page.evaluate("() => { window.fetch = () => new Promise(() => {}); }")  # the request is never answered
    page.set_input_files("#file", PAGE)
    expect(page.locator("#status")).to_contain_text("Sending")


def answered(page: Page) -> None:
    page.set_input_files("#file", PAGE)
    _wait_for_result(page)


def failed(page: Page) -> None:
    """An image that is cut off, after the sample."""
    expect(page.locator("#result")).to_be_visible()
    page.set_input_files(
        "#file", {"name": "cut-off.png", "mimeType": "image/png", "buffer": PAGE.read_bytes()[:20_000]}
    )
    expect(page.locator("#status.wrong")).to_be_visible()


def hundred(page: Page) -> None:
    """As many detections as a response has by default."""
    page.set_input_files("#file", {"name": "wall.png", "mimeType": "image/png", "buffer": _wall()})
    _wait_for_result(page)
    page.fill("#threshold", "0.1")
    expect(page.locator("#count")).to_contain_text("100")
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")


STATES: dict[str, Callable[[Page], None]] = {
    "empty": empty,
    "waiting": waiting,
    "answered": answered,
    "failed": failed,
    "100-detections": hundred,
}


def _wait_for_result(page: Page) -> None:
    expect(page.locator("#timing")).to_contain_text("encode")
    page.wait_for_timeout(1000)  # masks fade in


def _wall() -> bytes:
    """Six times the 20 drawings."""
    with Image.open(PAGE) as one:
        wall = Image.new("RGB", (3 * one.width, 2 * one.height))
        for index in range(6):
            wall.paste(one, (index % 3 * one.width, index // 3 * one.height))
    content = io.BytesIO()
    wall.save(content, "PNG")
    return content.getvalue()


# --- the pictures ----------------------------------------------------------------------------------------------------


def take(out: Path) -> None:
    """Takes all screenshots.

    Args:
        out: the folder for them. STATE-WIDTH-SCHEME.png is the window, and STATE-WIDTH-SCHEME-whole.png the whole page.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _browser() as browser:
        for samples, states in ((False, ["empty"]), (True, [name for name in STATES if name != "empty"])):
            with _served(Path(folder) / str(samples), samples) as url:
                for width, height in WIDTHS.items():
                    for scheme in SCHEMES:
                        for state in states:
                            _take_one(browser, url, state, width, height, scheme, out)


def _take_one(browser: Browser, url: str, state: str, width: int, height: int, scheme: str, out: Path) -> None:
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    STATES[state](page)
    name = f"{state}-{width}-{scheme}"
    page.screenshot(path=out / f"{name}.png")
    page.screenshot(path=out / f"{name}-whole.png", full_page=True)
    page.close()
    print(out / f"{name}.png", flush=True)


def write_pictures(out: Path, folder: Path) -> None:
    """Writes the pictures of the documentation: browser.webp, and page_states.webp with all of them.

    Args:
        out: where `take` has written its screenshots.
        folder: for the pictures.
    """
    with Image.open(out / "answered-1100-light.png") as one:
        one.convert("RGB").save(folder / "browser.webp", quality=QUALITY)
    rows = [
        [_reduced(out / f"{state}-{width}-{scheme}.png") for width in WIDTHS for scheme in SCHEMES] for state in STATES
    ]
    columns = [picture.width for picture in rows[0]]
    heights = [max(picture.height for picture in row) for row in rows]
    size = (sum(columns) + GAP * (len(columns) + 1), sum(heights) + GAP * (len(rows) + 1))
    overview = Image.new("RGB", size, "#9aa0a6")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        left = GAP
        for picture in row:
            overview.paste(picture, (left, top))
            left += picture.width + GAP
        top += height + GAP
    overview.save(folder / "page_states.webp", quality=QUALITY)


def _reduced(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB").resize(
            (round(picture.width * SCALE), round(picture.height * SCALE)), Image.Resampling.LANCZOS
        )


# --- a server and a browser ------------------------------------------------------------------------------------------


@contextmanager
def _served(folder: Path, has_samples: bool) -> Iterator[str]:
    """The page's URL of a server of the demo's model."""
    model = ["--config", MODEL / "config.yaml", "--weights", MODEL / "weights.pkl", "--classes", MODEL / "classes.txt"]
    options = ["--name", "demo", "--about", ABOUT, "--threshold", THRESHOLD, "--output", folder]
    samples = ["--samples", MODEL / "samples"] if has_samples else []
    command = [str(word) for word in ("./archive.sh", *model, *options, *samples)]
    folder.mkdir()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    ports = (_port(), *free_ports(2))
    properties = with_addresses(read_properties(ROOT / "config.properties"), "127.0.0.1", *ports)
    with TorchServe([folder / "demo.mar"], properties, folder / "logs") as server:
        server.wait_until_ready()
        yield f"{server.url}/predictions/demo"


def _port() -> int:
    """The usual one, which the screenshots show, unless a server has it."""
    try:
        with socket.create_server(("127.0.0.1", 8080)):
            return 8080
    except OSError:
        return free_ports(1)[0]


@contextmanager
def _browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("screenshots: there is no Chromium on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Takes screenshots of the page for browsers.")
    output = ROOT / "demo" / "output" / "screenshots"
    parser.add_argument("--out", type=Path, default=output, help="folder for all of them (default: %(default)s)")
    parser.add_argument(
        "--pictures", type=Path, default=ROOT / "demo" / "results", help="folder for the documentation's"
    )
    parsed = parser.parse_args()
    take(parsed.out)
    write_pictures(parsed.out, parsed.pictures)


if __name__ == "__main__":
    main()
