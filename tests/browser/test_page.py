"""The page that a browser gets at the model's URL."""

import base64
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from served.conftest import Server

from browser.conftest import HOSTILE_NAME

pytestmark = pytest.mark.extensive


def upload(page: Page, picture: Path) -> None:
    page.set_input_files("#file", picture)
    expect(page.locator("#status")).to_contain_text("encode")


def canvas_pixels(page: Page) -> np.ndarray:
    script = """() => { const c = document.getElementById("canvas");
        return [c.width, c.height, [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]] }"""
    width, height, values = page.evaluate(script)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def set_threshold(page: Page, value: float) -> None:
    page.locator("#threshold").fill(str(value))


def test_a_picture_gets_its_masks_drawn_over_it(page: Page, picture: Path) -> None:
    upload(page, picture)
    set_threshold(page, 0.1)
    drawn = canvas_pixels(page)
    original = np.array(Image.open(picture))
    assert drawn.shape == original.shape
    count = page.locator("#list li").count()
    assert count > 3
    expect(page.locator("#count")).to_have_text(f"{count} things")
    assert (drawn != original).any(axis=2).mean() > 0.05


def test_the_masks_are_the_servers(page: Page, picture: Path, server: Server) -> None:
    """The page's decoding of COCO's run lengths against pycocotools'."""
    from pycocotools import mask as rle

    upload(page, picture)
    masks = page.evaluate("() => shown.instances.map((each) => [...each.mask])")
    command = ["curl", "-sS", "-T", str(picture), "-H", "Score-Threshold: 0.1", server.url]
    instances = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["instances"]
    assert len(masks) == len(instances) > 3
    for mask, instance in zip(masks, instances, strict=True):
        expected = rle.decode(instance["segmentation"])
        np.testing.assert_array_equal(np.reshape(mask, expected.shape, order="F"), expected)


def test_the_slider_filters_at_once_and_without_the_server(page: Page, picture: Path) -> None:
    upload(page, picture)
    set_threshold(page, 0.1)
    every = page.locator("#list li").count()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    set_threshold(page, 0.5)
    assert 0 < page.locator("#list li").count() < every
    expect(page.locator("#shown-threshold")).to_have_text("0.50")
    set_threshold(page, 0.99)
    assert page.locator("#list li").count() == 0
    np.testing.assert_array_equal(canvas_pixels(page), np.array(Image.open(picture)))
    assert requests == []


def test_the_pointer_and_the_keyboard_light_an_instance(page: Page, picture: Path) -> None:
    upload(page, picture)
    set_threshold(page, 0.1)
    plain = canvas_pixels(page)
    first = page.locator("#list li button").first
    first.focus()
    expect(first).to_have_class("lit")
    lit = canvas_pixels(page)
    assert (lit != plain).any()
    page.locator("#threshold").focus()
    np.testing.assert_array_equal(canvas_pixels(page), plain)
    mask = np.reshape(page.evaluate("() => [...shown.instances[0].mask]"), plain.shape[:2], order="F")
    rows, columns = np.nonzero(mask)
    y, x = rows[len(rows) // 2], columns[len(rows) // 2]
    place = page.locator("#canvas").bounding_box()
    assert place is not None
    scale = place["width"] / plain.shape[1]
    page.mouse.move(place["x"] + (x + 0.5) * scale, place["y"] + (y + 0.5) * scale)
    assert page.locator("#list button.lit").count() == 1
    np.testing.assert_array_equal(canvas_pixels(page), lit)


def test_the_curl_command_answers_what_is_shown(page: Page, picture: Path) -> None:
    upload(page, picture)
    set_threshold(page, 0.4)
    command = page.locator("#curl").inner_text()
    printed = subprocess.run(command, shell=True, cwd=picture.parent, capture_output=True, check=True).stdout
    assert len(json.loads(printed)["instances"]) == page.locator("#list li").count() > 0


def test_class_names_are_text(page: Page, picture: Path) -> None:
    upload(page, picture)
    set_threshold(page, 0.1)
    expect(page.locator("#list b").first).to_contain_text(HOSTILE_NAME)
    assert page.locator("#list img").count() == 0
    assert page.title() != "run"


def test_the_sample_the_clipboard_and_a_drop_are_taken(page: Page, picture: Path) -> None:
    page.click("#sample")
    expect(page.locator("#status")).to_contain_text("encode")
    for event, transfer in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(
            """([event, transfer, content]) => {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], event + ".png", { type: "image/png" }));
                const kind = event === "paste" ? ClipboardEvent : DragEvent;
                document.body.dispatchEvent(new kind(event, { [transfer]: data, bubbles: true, cancelable: true }));
            }""",
            [event, transfer, base64.b64encode(picture.read_bytes()).decode()],
        )
        expect(page.locator("#curl")).to_contain_text(f"{event}.png")


@pytest.mark.parametrize(("size", "made"), [((400, 400), "200×200"), ((600, 20), "300×10"), ((3000, 1), "300×1")])
def test_a_large_picture_is_made_smaller_first(page: Page, tmp_path: Path, size: tuple[int, int], made: str) -> None:
    """To what --max-pixels and --max-side allow."""
    Image.new("RGB", size, "red").save(tmp_path / "large.png")
    upload(page, tmp_path / "large.png")
    expect(page.locator("#status")).to_contain_text(f"Made smaller for this server: {made} pixels")


def test_the_slider_stands_at_the_archives_threshold_first(page: Page, picture: Path) -> None:
    upload(page, picture)
    expect(page.locator("#shown-threshold")).to_have_text("0.35")
    shown = page.locator("#list li").count()
    assert shown > 0
    set_threshold(page, 0.1)
    assert page.locator("#list li").count() > shown


def test_a_file_that_is_no_picture_and_a_servers_error_are_told(page: Page, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "text.png")
    expect(page.locator("#status.wrong")).to_contain_text("can't show that file")
    page.route("**/predictions/*", lambda route: route.continue_(headers={**route.request.headers, "classes": "x"}))
    page.set_input_files("#file", picture)
    expect(page.locator("#status.wrong")).to_contain_text("which is no class of this network")


def test_everything_is_reached_by_the_tab_key(page: Page, picture: Path) -> None:
    upload(page, picture)
    reached = set()
    page.evaluate("() => document.body.focus()")
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id || document.activeElement.parentElement.tagName"))
    assert reached >= {"file", "sample", "threshold", "LI", "copy"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_everything(browser: Browser, server: Server, picture: Path, scheme: str) -> None:
    phone = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    phone.goto(server.url)
    upload(phone, picture)
    assert phone.evaluate("() => document.documentElement.scrollWidth") <= 360
    background = phone.evaluate("() => getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(each) for each in re.findall(r"\d+", background)[:3]) / 3
    assert (brightness < 60) == (scheme == "dark")
    phone.close()


def test_nothing_from_elsewhere_may_run_or_load(browser: Browser, server: Server) -> None:
    opened = browser.new_page()
    response = opened.goto(server.url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    blocked = opened.evaluate("""() => new Promise((done) => {
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
    })""")
    assert blocked == "script-src-elem"
    assert opened.title() != "run"
    opened.close()
