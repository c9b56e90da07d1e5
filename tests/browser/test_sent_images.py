"""What the page sends for an image: the file as it is, or what the browser drew of it."""

import io
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from reference.cases import Case
from tests.browser.pages import image_pixels, set_threshold, upload
from tests.served.conftest import Server, send

pytestmark = pytest.mark.extensive

QUARTER_TURN = 6  # by EXIF
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="120" height="80">
<rect x="10" y="10" width="60" height="50" fill="#c02020"/><circle cx="90" cy="40" r="20" fill="#2040c0"/></svg>"""


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = QUARTER_TURN
    return exif


def sent(page: Page) -> bytes:
    """The bytes that the page sent for the image that it shows."""
    return bytes(page.evaluate("async () => [...new Uint8Array(await state.shown.body.arrayBuffer())]"))


def with_clear_half(image: np.ndarray) -> Image.Image:
    """The image, transparent on its left half, where its colours are black."""
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:, : image.shape[1] // 2] = 0
    colours = np.where(alpha[..., None] == 0, 0, image).astype(np.uint8)
    return Image.fromarray(np.dstack([colours, alpha]))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_plain_file_goes_as_it_is(page: Page, case: Case, tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "image"
    Image.fromarray(case.image).save(path, file_format)
    upload(page, path)
    assert sent(page) == path.read_bytes()


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("WEBP", {"lossless": True}), ("AVIF", {"quality": 100, "subsampling": "4:4:4"}), ("PNG", {}), ("JPEG", {})],
)
def test_masks_lie_on_what_the_browser_shows_of_a_turned_image(
    page: Page, case: Case, server: Server, tmp_path: Path, file_format: str, options: dict[str, object]
) -> None:
    """Chromium doesn't turn a WebP by its EXIF, and the server does."""
    path = tmp_path / f"turned.{file_format.lower()}"
    Image.fromarray(case.image).save(path, file_format, exif=turned(), **options)
    upload(page, path)
    instances = page.evaluate("() => state.shown.instances.map((each) => each.bbox)")
    set_threshold(page, 1)  # the image without masks
    shown = io.BytesIO()
    Image.fromarray(image_pixels(page)).save(shown, "PNG")
    content = detections(server, shown.getvalue())
    assert page.evaluate("() => [state.shown.width, state.shown.height]") == [content["width"], content["height"]]
    assert len(instances) == len(content["instances"]) > 3
    np.testing.assert_allclose(instances, [each["bbox"] for each in content["instances"]], atol=1.5)


def detections(server: Server, content: bytes) -> dict[str, Any]:
    headers = {"Content-Type": "image/png", "Score-Threshold": "0.1"}
    return json.loads(send(urllib.request.Request(server.url, content, headers, method="POST")).body)


def svg() -> bytes:
    return SVG.encode()


def gif() -> bytes:
    return saved(Image.new("RGB", (120, 80), "#c02020"), "GIF")


def bmp() -> bytes:
    return saved(Image.new("RGB", (120, 80), "#c02020"), "BMP")


def saved(image: Image.Image, file_format: str) -> bytes:
    content = io.BytesIO()
    image.save(content, file_format)
    return content.getvalue()


@pytest.mark.parametrize(("make", "name"), [(svg, "drawing.svg"), (gif, "image.gif"), (bmp, "image.bmp")])
def test_other_kinds_are_sent_as_the_browser_draws_them(page: Page, make: Callable[[], bytes], name: str) -> None:
    media_type = {"svg": "image/svg+xml", "gif": "image/gif", "bmp": "image/bmp"}[name[-3:]]
    page.set_input_files("#file", {"name": name, "mimeType": media_type, "buffer": make()})
    expect(page.locator("#timing")).to_contain_text("120×80 pixels")
    with Image.open(io.BytesIO(sent(page))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (120, 80))
        red = image.convert("RGB").getpixel((40, 30))
        assert np.abs(np.array(red) - (0xC0, 0x20, 0x20)).max() < 10


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
@pytest.mark.parametrize("side", [150, 260])
def test_there_is_white_below_a_transparent_image(
    page: Page, case: Case, tmp_path: Path, file_format: str, side: int
) -> None:
    """On the display, in what is sent, and in what is made smaller: above 200 pixels a side for this server."""
    path = tmp_path / f"clear.{file_format.lower()}"
    with_clear_half(np.array(Image.fromarray(case.image).resize((side, side)))).save(path, lossless=True)
    upload(page, path)
    expect(page.locator("#timing")).to_contain_text("Made smaller" if side > 200 else "pixels in")
    with Image.open(io.BytesIO(sent(page))) as image:
        opaque = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
        assert min(opaque.getpixel((10, 10))) > 250
    set_threshold(page, 1)
    assert image_pixels(page)[10, 10].min() > 250


def test_the_masks_of_a_smaller_copy_are_shown_on_the_original(page: Page, case: Case, tmp_path: Path) -> None:
    """The server takes 200×200 pixels; the file has 800×800."""
    path = tmp_path / "large.png"
    Image.fromarray(case.image).resize((800, 800), Image.Resampling.NEAREST).save(path)
    upload(page, path)
    expect(page.locator("#timing")).to_contain_text("Made smaller for this server: 200×200 pixels")
    assert page.evaluate("() => [state.shown.picture.width, state.shown.picture.height]") == [800, 800]
    boxes = np.array(page.evaluate("() => state.shown.instances.map((each) => each.bbox)"))
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 200
    set_threshold(page, 1)
    drawn = page.evaluate("""() => {
        const canvas = new OffscreenCanvas(800, 800);
        const layers = new Layers({ left: 0, top: 0, right: 200, bottom: 200 }, 4);
        drawResult(canvas.getContext("2d"), { left: 0, top: 0, scale: 4 }, layers);
        return [...canvas.getContext("2d").getImageData(0, 0, 800, 800).data];
    }""")
    np.testing.assert_array_equal(
        np.array(drawn, np.uint8).reshape(800, 800, 4)[..., :3], np.array(Image.open(path).convert("RGB"))
    )


def test_a_progressive_jpeg_is_known_by_its_segments(page: Page, case: Case) -> None:
    for progressive in (False, True):
        content = io.BytesIO()
        Image.fromarray(case.image).save(content, "JPEG", progressive=progressive, exif=turned())
        kind = page.evaluate("(bytes) => kindOf(new Uint8Array(bytes))", list(content.getvalue()))
        assert kind == {"isPlain": True, "isReadInParts": not progressive}
