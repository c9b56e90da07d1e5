"""What the page shows before a response, when it comes, and when it is an error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.pages import canvas_pixels, display_pixels, set_threshold, settle, upload
from tests.served.conftest import Server
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive


def test_the_image_is_shown_while_its_response_is_awaited(page: Page, image: Path) -> None:
    held: list[Route] = []
    page.route("**/predictions/*", lambda route: held.append(route))
    page.set_input_files("#file", image)
    expect(page.locator("#spinner")).to_be_visible()
    page.wait_for_function("() => state.pending?.picture")
    assert canvas_pixels(page).std() > 10  # neither blank nor of one colour
    expect(page.locator("#list")).to_be_hidden()  # it is that of the image before
    expect(page.locator("#status")).to_have_text(f"Sending {image.name} …")
    assert len(held) == 1
    held[0].continue_()
    expect(page.locator("#spinner")).to_be_hidden()
    expect(page.locator("#list")).to_be_visible()


def test_the_masks_fade_in_unless_motion_is_reduced(browser: Browser, server: Server, image: Path) -> None:
    for motion, fades in (("no-preference", True), ("reduce", False)):
        page = browser.new_page(reduced_motion=motion)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(server.url)
        page.evaluate("""() => {
            window.busyAfterResult = false;
            const stage = document.getElementById("stage");
            new MutationObserver(() => { busyAfterResult ||= !state.pending && stage.ariaBusy === "true"; })
                .observe(stage, { attributes: true });
        }""")
        upload(page, image)
        settle(page)
        assert page.evaluate("() => busyAfterResult") == fades
        animation = page.evaluate(
            "() => getComputedStyle(document.getElementById('spinner'), '::before').animationName"
        )
        assert (animation != "none") == fades
        page.close()


def test_the_status_says_how_many_instances_were_found(page: Page, image: Path) -> None:
    upload(page, image)
    count = page.locator("#list li").count()
    expect(page.locator("#status")).to_have_text(f"{count} instances found.")
    expect(page.locator("#more")).to_be_empty()


def test_the_page_says_so_where_there_may_be_more_instances(page: Page, image: Path) -> None:
    page.evaluate("() => { state.options = { 'Max-Detections': '2' }; }")
    upload(page, image)
    set_threshold(page, 0.99)
    expect(page.locator("#more")).to_be_empty()  # above the slider there are no more
    set_threshold(page, 0.1)
    expect(page.locator("#count")).to_have_text("2 instances")
    expect(page.locator("#more")).to_have_text("The server sends the 2 with the highest scores. There may be more.")


def test_an_error_leaves_the_result_and_can_be_tried_again(page: Page, image: Path, tmp_path: Path) -> None:
    upload(page, image)
    set_threshold(page, 0.1)
    before, pixels = page.locator("#list li").count(), display_pixels(page)
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    refusal = {"error": "it is busy", "expected": "patience"}
    page.route("**/predictions/*", lambda route: route.fulfill(status=400, json=refusal))
    page.set_input_files("#file", tmp_path / "red.png")
    expect(page.locator("#status.wrong")).to_contain_text("It is busy. Expected: patience.")
    expect(page.locator("#status.wrong")).to_contain_text(f"Below is still the result for {image.name}.")
    assert page.locator("#list li").count() == before
    np.testing.assert_array_equal(display_pixels(page), pixels)
    page.unroute("**/predictions/*")
    page.click("#retry")
    expect(page.locator("#timing")).to_contain_text("50×40 pixels")
    expect(page.locator("#retry")).to_be_hidden()
