"""What a user does on the page."""

import base64
import shutil
from pathlib import Path

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
