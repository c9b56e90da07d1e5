"""The page's display: what is drawn, and how instances are selected and the image is enlarged."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import dense_masks, display_pixels, image_pixels, set_threshold, settle, upload
from tests.served.conftest import Server
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

VIEW = "() => { const { left, top, scale, isWhole } = viewer.view; return { left, top, scale, isWhole } }"


@pytest.fixture
def shown(page: Page, image: Path) -> Page:
    """The page with an image and all that was detected on it."""
    upload(page, image)
    set_threshold(page, 0.1)
    settle(page)
    return page


def point_on(page: Page, index: int) -> tuple[float, float]:
    """Coordinates in the window of a pixel at which an instance is the one that is seen."""
    masks = dense_masks(page)
    alone = masks[index].astype(bool) & ~masks[:index].any(axis=0)
    rows, columns = np.nonzero(alone)
    place = page.locator("#canvas").bounding_box()
    assert place is not None
    assert len(rows) > 0
    middle = len(rows) // 2
    view = page.evaluate(VIEW)
    x, y = (columns[middle] + 0.5 - view["left"]) * view["scale"], (rows[middle] + 0.5 - view["top"]) * view["scale"]
    return place["x"] + x, place["y"] + y


def selected(page: Page) -> int | None:
    return page.evaluate("() => state.selected?.number ?? null")


def highlighted(page: Page) -> int | None:
    return page.evaluate("() => highlighted()?.number ?? null")


def test_hovering_highlights_an_instance_and_says_what_it_is(shown: Page) -> None:
    plain = display_pixels(shown)
    expect(shown.locator("#details")).to_contain_text("Point at an instance")
    shown.mouse.move(*point_on(shown, 0))
    assert highlighted(shown) == 0
    assert selected(shown) is None
    assert (display_pixels(shown) != plain).any()
    instance = shown.evaluate("() => state.shown.instances[0]")
    details = shown.locator("#details")
    expect(details).to_contain_text(instance["category_name"])
    expect(details).to_contain_text(f"{instance['score']:.2f}")
    expect(details).to_contain_text(f"{instance['area']:,} px")
    expect(shown.locator("#list button.lit")).to_have_count(1)
    shown.mouse.move(1, 1)
    assert highlighted(shown) is None
    np.testing.assert_array_equal(display_pixels(shown), plain)


def test_a_click_selects_and_a_click_beside_it_selects_nothing(shown: Page) -> None:
    shown.mouse.click(*point_on(shown, 1))
    assert selected(shown) == 1
    expect(shown.locator("#list button[aria-pressed=true]")).to_have_count(1)
    shown.mouse.move(1, 1)
    assert highlighted(shown) == 1
    shown.mouse.click(*point_on(shown, 1))
    assert selected(shown) is None


def test_a_tap_selects(browser: Browser, server: Server, image: Path) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844}, device_scale_factor=3)
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(server.url)
    upload(page, image)
    set_threshold(page, 0.1)
    page.locator("#canvas").scroll_into_view_if_needed()
    page.touchscreen.tap(*point_on(page, 0))
    expect(page.locator("#details dl")).to_be_visible()
    assert selected(page) == 0
    context.close()


def test_the_cut_out_is_the_instance_alone(shown: Page) -> None:
    shown.mouse.click(*point_on(shown, 0))
    mask = dense_masks(shown)[0]
    alpha = shown.evaluate("""() => {
        const canvas = document.querySelector("#details canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [...data].filter((value, index) => index % 4 === 3);
    }""")
    box = shown.evaluate("() => rectangleOf(state.shown.instances[0], state.shown)")
    share = mask[box["top"] : box["bottom"], box["left"] : box["right"]].mean()
    assert 0 < share < 1
    assert np.mean(np.array(alpha) > 0) == pytest.approx(share, abs=0.03)


def test_the_arrow_keys_go_through_the_visible_instances(shown: Page) -> None:
    count = shown.locator("#list li").count()
    shown.locator("#canvas").focus()
    for number in (*range(count), 0):
        shown.keyboard.press("ArrowRight")
        assert selected(shown) == number
    shown.keyboard.press("ArrowLeft")
    assert selected(shown) == count - 1
    shown.keyboard.press("Escape")
    assert selected(shown) is None
    shown.keyboard.press("ArrowUp")
    assert selected(shown) == count - 1


def test_an_entry_of_the_list_responds_to_enter(shown: Page) -> None:
    first = shown.locator("#list button").first
    first.focus()
    shown.keyboard.press("Enter")
    assert selected(shown) == 0
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("Space")
    assert selected(shown) == 1
    shown.keyboard.press("Enter")
    assert selected(shown) is None


def test_the_list_is_one_stop_of_the_tab_key(shown: Page) -> None:
    """So that what stands after it is near."""
    assert shown.locator("#list button").count() > 3
    shown.locator("#threshold").focus()
    stops = []
    while "copy" not in stops:
        shown.keyboard.press("Tab")
        stops.append(shown.evaluate("() => document.activeElement.id || document.activeElement.closest('[id]').id"))
        assert len(stops) < 10
    assert stops.count("list") == 1


def test_what_becomes_invisible_is_no_longer_selected(shown: Page) -> None:
    shown.mouse.click(*point_on(shown, 1))
    set_threshold(shown, 0.99)
    assert selected(shown) is None


def test_wheel_buttons_and_keys_zoom_and_move(shown: Page) -> None:
    whole = shown.evaluate(VIEW)
    assert whole["isWhole"]
    x, y = point_on(shown, 0)
    shown.mouse.move(x, y)
    shown.mouse.wheel(0, -400)
    shown.wait_for_function("() => !viewer.view.isWhole")
    shown.mouse.move(x + 1, y)
    assert highlighted(shown) == 0  # what is under the pointer stays there
    wheeled = shown.evaluate(VIEW)
    shown.click("#zoom-in")
    assert shown.evaluate(VIEW)["scale"] == pytest.approx(1.25 * wheeled["scale"])
    shown.click("#zoom-out")
    assert shown.evaluate(VIEW)["scale"] == pytest.approx(wheeled["scale"])
    shown.locator("#canvas").focus()
    shown.keyboard.press("Shift+ArrowRight")
    shown.keyboard.press("Shift+ArrowDown")
    moved = shown.evaluate(VIEW)
    assert moved["left"] > wheeled["left"] or moved["top"] > wheeled["top"]
    for _ in range(50):
        shown.keyboard.press("+")
    most = shown.evaluate(VIEW)["scale"]
    assert most > 4 * whole["scale"]
    for _ in range(50):
        shown.keyboard.press("-")
    assert shown.evaluate(VIEW) == pytest.approx(whole)
    shown.keyboard.press("+")
    shown.keyboard.press("0")
    assert shown.evaluate(VIEW) == pytest.approx(whole)
    shown.click("#zoom-in")
    shown.click("#show-all")
    assert shown.evaluate(VIEW) == pytest.approx(whole)


def test_a_drag_moves_an_enlarged_image_and_selects_nothing(shown: Page) -> None:
    shown.click("#zoom-in")
    shown.click("#zoom-in")
    before = shown.evaluate(VIEW)
    x, y = point_on(shown, 0)
    shown.mouse.move(x, y)
    shown.mouse.down()
    shown.mouse.move(x - 30, y - 20, steps=3)
    shown.mouse.up()
    after = shown.evaluate(VIEW)
    assert after["left"] - before["left"] == pytest.approx(30 / before["scale"])
    assert after["top"] - before["top"] == pytest.approx(20 / before["scale"])
    assert selected(shown) is None


def test_a_pinch_zooms(browser: Browser, server: Server, image: Path) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844}, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(server.url)
    upload(page, image)
    page.locator("#canvas").scroll_into_view_if_needed()
    place = page.locator("#canvas").bounding_box()
    assert place is not None
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    fingers = context.new_cdp_session(page)

    def touch(kind: str, *distances: float) -> None:
        points: list[dict[str, Any]] = [{"x": x + each, "y": y, "id": i} for i, each in enumerate(distances)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -30, 30)
    for step in range(1, 7):
        touch("touchMove", -30 - 10 * step, 30 + 10 * step)
    touch("touchEnd")
    view = page.evaluate(VIEW)
    whole = page.evaluate("() => viewer.view.fit")
    assert view["scale"] == pytest.approx(3 * whole, rel=0.1)
    assert page.evaluate("() => visualViewport.scale") == pytest.approx(1)
    assert selected(page) is None
    context.close()


def test_enlarged_masks_have_the_pixels_of_the_image(shown: Page) -> None:
    """Layers are made anew for the part that is seen."""
    shown.uncheck("#boxes")
    shown.uncheck("#labels")
    shown.locator("#opacity").fill("1")
    shown.locator("#canvas").focus()
    for _ in range(50):
        shown.keyboard.press("+")
    shown.wait_for_function("() => viewer.view.scale >= 8")
    shown.wait_for_timeout(500)  # longer than layers wait for further changes
    view = shown.evaluate(VIEW)
    drawn = display_pixels(shown)
    shown.evaluate("() => viewer.view.showAll()")
    expected = image_pixels(shown)
    scale = view["scale"]
    height, width = drawn.shape[:2]
    rows = (view["top"] + (np.arange(height) + 0.5) / scale).astype(int)
    columns = (view["left"] + (np.arange(width) + 0.5) / scale).astype(int)
    assert (drawn == expected[rows][:, columns]).all(axis=2).mean() > 0.9  # but for the borders of pixels


def test_boxes_labels_and_outlines_are_toggled(shown: Page, image: Path) -> None:
    original = np.array(Image.open(image))
    shown.locator("#opacity").fill("0")
    shown.uncheck("#boxes")
    shown.uncheck("#labels")
    np.testing.assert_array_equal(image_pixels(shown), original)
    changed = {}
    for toggle in ("boxes", "labels", "outlines"):
        shown.check(f"#{toggle}")
        changed[toggle] = (image_pixels(shown) != original).any(axis=2)
        shown.uncheck(f"#{toggle}")
    assert all(each.any() for each in changed.values())
    masks = dense_masks(shown).astype(bool)
    assert (changed["outlines"] <= masks.any(axis=0)).all()
    assert changed["outlines"].sum() < masks.any(axis=0).sum()
    shown.locator("#opacity").fill("1")
    np.testing.assert_array_equal((image_pixels(shown) != original).any(axis=2), masks.any(axis=0))


def test_the_legend_counts_classes_and_hides_them(shown: Page) -> None:
    instances = shown.evaluate("() => state.shown.instances.map((each) => each.category_name)")
    names = list(dict.fromkeys(instances))
    buttons = shown.locator("#legend button")
    expect(buttons).to_have_count(len(names))
    for name in names:
        expect(buttons.filter(has_text=re.compile(re.escape(name)))).to_contain_text(str(instances.count(name)))
    buttons.first.click()
    expect(buttons.first).to_have_attribute("aria-pressed", "false")
    assert shown.locator("#list li").count() == len(instances) - instances.count(names[0])
    shown.keyboard.press("Enter")
    assert shown.locator("#list li").count() == len(instances)
    set_threshold(shown, 0.99)
    assert shown.locator("#legend button:visible").count() == 0


def test_labels_never_cover_one_another_and_little_of_the_image(page: Page) -> None:
    """A hundred at random places, the worst of which lie on one another."""
    rectangles = page.evaluate("""() => {
        let seed = 7;
        const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
        const wanted = Array.from({ length: 100 }, () => {
            const left = 700 * random(), top = 450 * random();
            const box = { left, top, right: left + 60 * random(), bottom: top + 60 * random() };
            return { box, width: 40 + 60 * random() };
        });
        return placedLabels(wanted, 17, { width: 760, height: 500 }).filter(Boolean);
    }""")
    assert len(rectangles) >= 12
    covered = np.zeros((500, 760), int)
    for each in rectangles:
        assert 0 <= each["left"] < each["right"] <= 760
        assert 0 <= each["top"] < each["bottom"] <= 500
        covered[int(np.ceil(each["top"])) : int(each["bottom"]), int(np.ceil(each["left"])) : int(each["right"])] += 1
    assert covered.max() == 1
    assert covered.mean() < 0.12


def test_text_on_any_colour_has_enough_contrast(page: Page) -> None:
    pairs = page.evaluate("""() => {
        const names = (count) => Array.from({ length: count }, (_, index) => ({ category_name: `${index % 40}` }));
        const colours = [...coloursOf(names(200)), ...coloursOf(names(200).map(() => ({ category_name: "one" })))];
        return colours.map((colour) => [colour, textOn(colour)]);
    }""")

    def luminance(colour: list[float]) -> float:
        values = np.array(colour) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for colour, text in pairs:
        one, other = sorted((luminance(colour), luminance([0, 0, 0] if text == "#000" else [255, 255, 255])))
        assert (other + 0.05) / (one + 0.05) >= 4.5


@pytest.mark.parametrize("width", [1100, 390])
def test_focus_rings_are_not_cut_off(browser: Browser, server: Server, image: Path, width: int) -> None:
    """Each ring, 5 pixels around its element, lies within the boxes that would cut it."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(server.url)
    upload(page, image)
    set_threshold(page, 0.1)
    for selector in ("#list button", "#legend button", "#zoom-out", "#threshold", "#canvas"):
        page.locator(selector).first.focus()
        page.keyboard.press("Shift")
        assert page.evaluate("""() => {
            const focused = document.activeElement, style = getComputedStyle(focused);
            const ring = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
            const inner = focused.getBoundingClientRect();
            for (let each = focused.parentElement; each; each = each.parentElement) {
                if (getComputedStyle(each).overflowX === "visible" && each !== document.documentElement) continue;
                const outer = each.getBoundingClientRect();
                if (inner.left - ring < outer.left || inner.right + ring > outer.right) return false;
            }
            return style.outlineStyle !== "none";
        }"""), selector
    page.close()
