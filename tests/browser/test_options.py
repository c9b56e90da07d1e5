"""The options of the page's requests."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from reference.cases import Case
from tests.browser.pages import upload
from tests.served.conftest import Server

pytestmark = pytest.mark.extensive


def test_tiles_are_requested_of_an_image_that_the_network_sees_reduced(
    page: Page, case: Case, server: Server, tmp_path: Path
) -> None:
    small, large = (tmp_path / name for name in ("small.png", "large.png"))
    Image.fromarray(case.image[:100, :100]).save(small)
    Image.fromarray(case.image).resize((199, 199)).save(large)
    page.click("#options summary")
    upload(page, small)
    expect(page.locator("#tiles-hint")).to_contain_text("sees this image whole")
    upload(page, large)
    expect(page.locator("#tiles-hint")).to_contain_text("sees this image reduced")
    expect(page.locator("#curl")).not_to_contain_text("Tile-Size")
    again = page.locator("#options .again")
    expect(again).to_be_disabled()
    page.select_option("#tiles", "auto")
    expect(page.locator("#curl")).not_to_contain_text("Tile-Size")  # not yet that of the response
    again.click()
    expect(page.locator("#curl")).to_contain_text("Tile-Size: auto")
    expect(again).to_be_disabled()
    command = ["curl", "-sS", "-T", str(large), "-H", "Score-Threshold: 0.1", "-H", "Tile-Size: auto", server.url]
    expected = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["instances"]
    scores = page.evaluate("() => state.shown.instances.map((each) => each.score)")
    assert scores == [each["score"] for each in expected]
    assert len(scores) > 0
    page.select_option("#tiles", "none")
    again.click()
    expect(page.locator("#curl")).not_to_contain_text("Tile-Size")


def test_options_hold_for_the_next_image_as_well(page: Page, image: Path) -> None:
    page.click("#options summary")
    page.fill("#most", "2")
    page.locator("#most").blur()
    upload(page, image)
    expect(page.locator("#curl")).to_contain_text("Max-Detections: 2")
    assert page.evaluate("() => state.shown.instances.length") == 2


@pytest.mark.parametrize("value", ["0", "1001", "", "1.5"])
def test_a_number_that_cannot_be_requested_changes_nothing(page: Page, image: Path, value: str) -> None:
    upload(page, image)
    page.click("#options summary")
    page.fill("#most", value)
    page.locator("#most").blur()
    expect(page.locator("#options .again")).to_be_disabled()
    assert page.evaluate("() => document.getElementById('most').validationMessage") != ""


def test_only_the_ticked_classes_are_requested(page: Page, image: Path) -> None:
    upload(page, image)
    found = page.evaluate("() => state.shown.instances.map((each) => server.classes.indexOf(each.category_name))")
    number = max(found)
    page.click("#number-of-classes")
    page.check(f"#class-list input >> nth={number}")
    page.click("#classes .again")
    expect(page.locator("#curl")).to_contain_text(f"Classes: {number}")
    names = page.evaluate("() => [...new Set(state.shown.instances.map((each) => each.category_name))]")
    assert [int(name.split()[-1]) for name in names] == [number]
    page.uncheck(f"#class-list input >> nth={number}")
    page.click("#classes .again")
    expect(page.locator("#curl")).not_to_contain_text("Classes")
