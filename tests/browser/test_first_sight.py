"""What the page shows to who has sent no image yet: an answered sample, more samples, and what the model knows."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import HOSTILE_NAME, NUM_CLASSES
from tests.browser.pages import drop, paste, upload
from tests.served.conftest import Server
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive


def test_the_first_sample_is_answered_without_a_request(browser: Browser, server: Server, tmp_path: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    methods: list[str] = []
    page.on("request", lambda request: methods.append(request.method))
    page.goto(server.url)
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#samples button").first).to_have_attribute("aria-pressed", "true")
    shown = page.evaluate("() => state.shown.instances.map((each) => [each.category_name, each.score, ...each.bbox])")
    assert "POST" not in methods
    with page.expect_download() as download:
        page.click("#save-sent")
    download.value.save_as(tmp_path / "sample.png")
    page.close()
    command = ["curl", "-sS", "-T", str(tmp_path / "sample.png"), "-H", "Score-Threshold: 0.1", server.url]
    instances = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["instances"]
    assert shown == [[each["category_name"], each["score"], *each["bbox"]] for each in instances] != []


def test_another_sample_is_sent(page: Page) -> None:
    buttons = page.locator("#samples button")
    assert buttons.all_inner_texts() == ["first", "second one"]
    buttons.nth(1).click()
    expect(page.locator("#timing")).to_contain_text("120×90 pixels")
    expect(buttons.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(buttons.nth(0)).to_have_attribute("aria-pressed", "false")


def test_an_own_image_takes_the_place_of_the_sample(page: Page, image: Path) -> None:
    upload(page, image)
    expect(page.locator("#samples button[aria-pressed=true]")).to_have_count(0)
    expect(page.locator("#curl")).to_contain_text("an image.png")


def test_a_drop_and_a_paste_are_taken(page: Page, image: Path) -> None:
    drop(page, image.read_bytes(), "dropped.png", "image/png")
    expect(page.locator("#curl")).to_contain_text("dropped.png")
    paste(page, image.read_bytes(), "pasted.png")
    expect(page.locator("#curl")).to_contain_text("pasted.png")


def test_an_image_that_is_dropped_from_another_page_is_no_file_of_the_user(page: Page, image: Path) -> None:
    page.evaluate(
        """(content) => {
            const data = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], "elsewhere.png", { type: "image/png" }));
            data.setData("text/html", "<img src='http://example.com/elsewhere.png'>");
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        base64.b64encode(image.read_bytes()).decode(),
    )
    expect(page.locator("#sent-name")).to_have_text("elsewhere.png")
    expect(page.locator("#sent")).to_be_visible()


def test_a_drop_whose_type_the_browser_does_not_know_is_tried(page: Page, image: Path) -> None:
    drop(page, image.read_bytes(), "without a type")
    expect(page.locator("#curl")).to_contain_text("without a type")
    drop(page, b"SIMPLE  =                    T", "sky.fits")
    expect(page.locator("#status.wrong")).to_contain_text("FITS")


def test_the_same_file_can_be_picked_again(page: Page, image: Path) -> None:
    for _ in range(2):
        with page.expect_request("**/predictions/*"):
            page.set_input_files("#file", image)
        expect(page.locator("#timing")).to_contain_text("encode")


def test_the_classes_are_listed_as_text_and_filtered(page: Page) -> None:
    expect(page.locator("#about")).to_have_text(f"This network knows {NUM_CLASSES} classes.")
    page.click("#number-of-classes")
    entries = page.locator("#class-list li")
    assert entries.all_inner_texts() == [f"{HOSTILE_NAME} {number}" for number in range(NUM_CLASSES)]
    page.fill("#class-filter", "RUN'\"> 3")
    expect(page.locator("#class-list li:visible")).to_have_text([f"{HOSTILE_NAME} 3"])
    expect(page.locator("#filtered")).to_have_text(f"1 of {NUM_CLASSES}")
    page.fill("#class-filter", "")
    expect(page.locator("#class-list li:visible")).to_have_count(NUM_CLASSES)
    assert page.title() != "run"
