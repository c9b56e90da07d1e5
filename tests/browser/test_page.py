"""The page that a browser gets at the model's URL."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from reference.cases import Case
from tests.browser.conftest import HOSTILE_NAME
from tests.browser.pages import dense_masks, image_pixels, set_threshold, upload
from tests.served.conftest import Server
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive


def test_an_image_gets_its_masks_drawn_over_it(page: Page, image: Path) -> None:
    upload(page, image)
    set_threshold(page, 0.1)
    drawn = image_pixels(page)
    original = np.array(Image.open(image))
    assert drawn.shape == original.shape
    count = page.locator("#list li").count()
    assert count > 3
    expect(page.locator("#count")).to_have_text(f"{count} instances")
    assert (drawn != original).any(axis=2).mean() > 0.05


def test_the_masks_are_the_servers(page: Page, image: Path, server: Server) -> None:
    """The page's decoding of COCO's run lengths against pycocotools'."""
    from pycocotools import mask as rle

    upload(page, image)
    masks = dense_masks(page)
    command = ["curl", "-sS", "-T", str(image), "-H", "Score-Threshold: 0.1", server.url]
    instances = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["instances"]
    assert len(masks) == len(instances) > 3
    for mask, instance in zip(masks, instances, strict=True):
        np.testing.assert_array_equal(mask, rle.decode(instance["segmentation"]))


def test_a_file_that_the_browser_cannot_show_is_shown_as_the_server_decodes_it(
    page: Page, case: Case, tmp_path: Path
) -> None:
    Image.fromarray(case.image).save(tmp_path / "image.tif")
    upload(page, tmp_path / "image.tif")
    expect(page.locator("#timing")).to_contain_text("Decoded by the server")
    assert page.evaluate("() => state.shown.instances.length") > 3
    set_threshold(page, 1)
    np.testing.assert_array_equal(image_pixels(page), case.image)


def test_what_the_server_notes_about_an_image_is_shown(page: Page, case: Case, tmp_path: Path) -> None:
    Image.fromarray(case.image[..., 0].astype(np.uint16) * 16).save(tmp_path / "grey.png")
    upload(page, tmp_path / "grey.png")
    expect(page.locator("#timing")).to_contain_text("stretched to 0 to 255 (stretch=auto)")


def test_the_slider_filters_at_once_and_without_the_server(page: Page, image: Path) -> None:
    upload(page, image)
    set_threshold(page, 0.1)
    every = page.locator("#list li").count()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    set_threshold(page, 0.5)
    assert 0 < page.locator("#list li").count() < every
    expect(page.locator("#shown-threshold")).to_have_text("0.50")
    set_threshold(page, 0.99)
    assert page.locator("#list li").count() == 0
    np.testing.assert_array_equal(image_pixels(page), np.array(Image.open(image)))
    assert requests == []


@pytest.mark.parametrize("name", ["猫 é.png", "a\n\x9b.png", "at 3.05\u202fPM.png"])
def test_an_image_of_any_name_can_be_downloaded(page: Page, image: Path, tmp_path: Path, name: str) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": image.read_bytes()})
    expect(page.locator("#timing")).to_contain_text("encode")
    page.select_option("#format", "coco")
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "found.json")
    named = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["file_name"]
    assert named == name.replace("\n", "_").replace("\x9b", "_")


# What a link to the page, or a file that is dropped on it from another page, may hold. RUN makes a file when it is run.
RUN = "touch$IFS" + "ran"
BELOW = [
    f"/1.0/;{RUN};",
    f"/1.0/$({RUN})",
    f"/1.0/`{RUN}`",
    f"/1.0/';{RUN};'",
    f"/1.0/&{RUN}&",
    "/1.0/|sh",
    "/1.0/--output/-o",
    f"/1.0?;{RUN};",
    f"/1.0#;{RUN};",
    "/1.0/predictions/tiny",
]
FILES = [
    "a b.png",
    "it's.png",
    "'';touch ran;''.png",
    "'\\'';touch ran;'.png",
    "$(touch ran).png",
    "`touch ran`.png",
    "${IFS}.png",
    "a\ntouch ran\n.png",
    "-o.png",
    "-",
    ".",
    "@list.png",
    "a\\.png",
    'a";touch ran;".png',
    "!!.png",
    "~.png",
    "*.png",
    "#.png",
    "img[1-3].png",
    "{a,b}.png",
    "ａ猫é.png",
]
RECORD = """#!/bin/sh
printf '%s\\0' "$@" > recorded
"""


def recorded(command: str, folder: Path) -> list[str]:
    """The arguments that /bin/sh gives curl, when it runs the command; anything else that is run fails the test."""
    (folder / "bin").mkdir()
    curl = folder / "bin" / "curl"
    curl.write_text(RECORD)
    curl.chmod(0o755)
    (folder / "here").mkdir()
    environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    run = subprocess.run(["/bin/sh", "-c", command], cwd=folder / "here", env=environment, capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    assert [path.name for path in (folder / "here").iterdir()] == ["recorded"]
    return (folder / "here" / "recorded").read_text().split("\0")[:-1]


def arguments_for(name: str, url: str) -> list[str]:
    """Of the curl command for a file of this name, at a threshold of 0.4."""
    path = f"./{name}" if name[0] in "-." else name
    options = ["-H", "Format: png", "-H", "Score-Threshold: 0.40"]
    return ["--fail-with-body", "-T", path, *options, "-o", f"{path}.png", url]


@pytest.mark.attack(5, "links, file names and hosts with shell commands in them, on the page")
@pytest.mark.parametrize("below", BELOW)
def test_a_hostile_link_to_the_page_changes_no_command(
    page: Page, server: Server, image: Path, tmp_path: Path, below: str
) -> None:
    if server.behind_gateway and page.request.get(server.url + below).status == 404:
        return  # a gateway has no page there
    page.goto(server.url + below)
    upload(page, image)
    set_threshold(page, 0.4)
    command = page.locator("#curl").text_content()
    assert command
    assert recorded(command, tmp_path) == arguments_for(image.name, server.url)


@pytest.mark.attack(5, "links, file names and hosts with shell commands in them, on the page")
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_name_is_one_argument(
    page: Page, server: Server, image: Path, tmp_path: Path, name: str
) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": image.read_bytes()})
    expect(page.locator("#timing")).to_contain_text("encode")
    set_threshold(page, 0.4)
    command = page.locator("#curl").text_content()
    assert command
    arguments = recorded(command, tmp_path)
    if arguments[0] == "-g":
        arguments = arguments[1:]
        assert set("[]{}") & set(name)
    assert arguments == arguments_for(name, server.url)


@pytest.mark.attack(5, "links, file names and hosts with shell commands in them, on the page")
def test_a_pasted_command_has_no_control_characters(page: Page, image: Path) -> None:
    """A terminal obeys them even between quotes: Ctrl-C ends the line, and what follows is a command."""
    name = "a\x03\ntouch ran\n\x1b[201~\t\x7f\x9b.png"
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": image.read_bytes()})
    expect(page.locator("#timing")).to_contain_text("encode")
    command = page.locator("#curl").text_content()
    assert command
    assert [letter for letter in command if letter != "\n" and not letter.isprintable()] == []


@pytest.mark.attack(5, "links, file names and hosts with shell commands in them, on the page")
def test_a_host_of_hostile_letters_is_part_of_the_one_url(
    browser: Browser, server: Server, image: Path, tmp_path: Path
) -> None:
    """Whoever has a domain can point a name like this one at any address."""
    opened = browser.new_page()
    opened.set_default_timeout(1000 * PATIENCE)
    opened.route("**/*", lambda route: route.fulfill(response=route.fetch(url=server.url)))  # no DNS has that name
    opened.goto("http://a;$(touch$ifs.ran)'`x`&.example:8080/predictions/tiny")
    upload(opened, image)
    command = opened.locator("#curl").text_content()
    opened.close()
    assert command
    assert recorded(command, tmp_path)[-1] == "http://a;$(touch$ifs.ran)'`x`&.example:8080/predictions/tiny"


@pytest.mark.parametrize("prefix", ["", "/any/where"])
@pytest.mark.parametrize("path", ["/predictions/tiny", "/tiny/predict", "/models/tiny/invoke"])
def test_images_go_to_the_path_of_the_page(
    browser: Browser, server: Server, image: Path, path: str, prefix: str
) -> None:
    """Also behind a proxy that forwards only this path, and puts a prefix before it."""
    origin = server.url.removesuffix("/predictions/tiny")
    opened = browser.new_page()
    opened.set_default_timeout(1000 * PATIENCE)
    opened.route("**/*", lambda route: route.abort())  # a route that is added later is tried first
    opened.route(f"{origin}{prefix}{path}", lambda route: route.fulfill(response=route.fetch(url=origin + path)))
    opened.goto(origin + prefix + path)
    upload(opened, image)
    command = opened.locator("#curl").text_content()
    opened.close()
    assert command
    assert command.endswith(f" {origin}{prefix}{path}")


def test_class_names_are_text(page: Page, image: Path) -> None:
    upload(page, image)
    set_threshold(page, 0.1)
    expect(page.locator("#list b").first).to_contain_text(HOSTILE_NAME)
    assert page.locator("#list img").count() == 0
    assert page.title() != "run"


@pytest.mark.parametrize(("size", "made"), [((400, 400), "200×200"), ((600, 20), "300×10"), ((3000, 1), "300×1")])
def test_a_large_image_is_made_smaller_first(page: Page, tmp_path: Path, size: tuple[int, int], made: str) -> None:
    """To what --max-pixels and --max-side allow."""
    Image.new("RGB", size, "red").save(tmp_path / "large.png")
    upload(page, tmp_path / "large.png")
    expect(page.locator("#timing")).to_contain_text(f"Made smaller for this server: {made} pixels")


def test_the_slider_stands_at_the_archives_threshold_first(page: Page, image: Path) -> None:
    upload(page, image)
    expect(page.locator("#shown-threshold")).to_have_text("0.35")
    shown = page.locator("#list li").count()
    assert shown > 0
    set_threshold(page, 0.1)
    assert page.locator("#list li").count() > shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_everything(browser: Browser, server: Server, image: Path, scheme: str) -> None:
    phone = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    phone.goto(server.url)
    upload(phone, image)
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
