"""What a user does on the page."""

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect


def skip_without_chromium() -> str:
    """The path of Chromium. Without it the test is skipped."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium on the PATH: apt-get install chromium")
    return chromium


def upload(page: Page, image: Path) -> None:
    page.set_input_files("#file", image)
    expect(page.locator("#timing")).to_contain_text("encode")


def set_threshold(page: Page, value: float) -> None:
    page.locator("#threshold").fill(str(value))


def image_pixels(page: Page) -> np.ndarray:
    """uint8 (H, W, 3): the image with its masks, drawn by the page in the image's size."""
    return _pixels(
        page,
        """() => {
            const { width, height } = state.shown;
            const canvas = new OffscreenCanvas(width, height);
            const layers = new Layers({ left: 0, top: 0, right: width, bottom: height }, 1);
            drawResult(canvas.getContext("2d"), { left: 0, top: 0, scale: 1 }, layers);
            return canvas;
        }""",
    )


def display_pixels(page: Page) -> np.ndarray:
    """uint8 (H, W, 3): what the canvas shows once it no longer changes."""
    settle(page)
    return canvas_pixels(page)


def canvas_pixels(page: Page) -> np.ndarray:
    """uint8 (H, W, 3): what the canvas shows now."""
    return _pixels(page, "() => document.getElementById('canvas')")


def settle(page: Page) -> None:
    """Waits until the page has drawn what changed, and the masks have faded in."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")


def _pixels(page: Page, canvas: str) -> np.ndarray:
    script = f"""() => {{ const c = ({canvas})();
        return [c.width, c.height, [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]] }}"""
    width, height, values = page.evaluate(script)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def dense_masks(page: Page) -> np.ndarray:
    """uint8 (N, H, W): the masks as the page decodes them."""
    width, height, masks = page.evaluate("""() => {
        const { width, height, instances } = state.shown;
        const whole = { left: 0, top: 0, right: width, bottom: height };
        return [width, height, instances.map((each) => [...sampledMask(each.mask(), whole, width, height)])];
    }""")
    return np.array(masks, np.uint8).reshape(-1, height, width)


def drop(page: Page, content: bytes, name: str, media_type: str = "") -> None:
    _transfer(page, "drop", "dataTransfer", content, name, media_type)


def paste(page: Page, content: bytes, name: str, media_type: str = "image/png") -> None:
    _transfer(page, "paste", "clipboardData", content, name, media_type)


def _transfer(page: Page, event: str, transfer: str, content: bytes, name: str, media_type: str) -> None:
    page.evaluate(
        """([event, transfer, content, name, type]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name, { type }));
            const eventClass = event === "paste" ? ClipboardEvent : DragEvent;
            document.body.dispatchEvent(new eventClass(event, { [transfer]: data, bubbles: true, cancelable: true }));
        }""",
        [event, transfer, base64.b64encode(content).decode(), name, media_type],
    )
