"""What the page saves, and the commands that it shows: each gives what is on the screen."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Page, expect
from tensormask_server.formats import FORMATS

from reference.cases import Case
from tests.browser.pages import drop, paste, set_threshold, upload
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

NODE = str(compute_driver_executable()[0])  # that comes with Playwright
NODE_STARTS = subprocess.run([NODE, "--version"], capture_output=True).returncode == 0
COMMANDS = {
    "curl": ["/bin/sh", "request"],
    "python": [sys.executable, "request"],
    "javascript": [NODE, "request.mjs"],
}


def downloaded(page: Page, format: str, folder: Path) -> Path:
    """The file that the page saves in a format."""
    page.select_option("#format", format)
    with page.expect_download() as download:
        page.click("#download")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    expect(page.locator("#status")).to_contain_text("Saved")
    return path


def ran(page: Page, language: str, folder: Path) -> None:
    """Runs what a tab shows in a folder, as a user would."""
    if language == "javascript" and not NODE_STARTS:
        pytest.skip("Node.js, as Playwright brings it, doesn't start here: it wants libatomic1")
    page.click(f"#tab-{language}")
    *command, script = COMMANDS[language]
    (folder / script).write_text(page.locator(f"#{language}").inner_text(), encoding="utf-8")
    result = subprocess.run([*command, script], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr


def shown_scores(page: Page) -> list[float]:
    scores: list[float] = page.evaluate("() => visibleInstances().map((each) => each.score)")
    return scores


def _picked(page: Page, case: Case, folder: Path) -> None:
    Image.fromarray(case.image).save(folder / "it's [an] image.png")
    upload(page, folder / "it's [an] image.png")


def _picked_and_shrunk(page: Page, case: Case, folder: Path) -> None:
    large = Image.fromarray(case.image).resize((600, 450))
    large.save(folder / "a large one.png")
    upload(page, folder / "a large one.png")
    expect(page.locator("#sent-name")).to_have_text("a_large_one-sent.jpg")


def _picked_and_redrawn(page: Page, case: Case, folder: Path) -> None:
    """A WebP with an orientation, which browsers show in different ways."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(case.image).save(folder / "turned.webp", lossless=True, exif=exif)
    upload(page, folder / "turned.webp")


def _sample(page: Page, *_: object) -> None:
    page.click("#samples button >> nth=1")
    expect(page.locator("#timing")).to_contain_text("encode")


def _first_sample(page: Page, *_: object) -> None:
    """As the page opens with it, answered when the server started."""
    expect(page.locator("#sent-name")).to_have_text("1-first.png")


def _pasted(page: Page, case: Case, _: Path) -> None:
    paste(page, _png(case), "image.png")
    expect(page.locator("#sent-name")).to_have_text("image.png")


def _dropped(page: Page, case: Case, folder: Path) -> None:
    (folder / "猫 é").write_bytes(_png(case))
    drop(page, _png(case), "猫 é")
    expect(page.locator("#curl")).to_contain_text("猫 é")


def _png(case: Case) -> bytes:
    content = io.BytesIO()
    Image.fromarray(case.image).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("language", COMMANDS)
@pytest.mark.parametrize(
    ("shown", "is_on_disk"),
    [
        (_picked, True),
        (_dropped, True),
        (_picked_and_shrunk, False),
        (_picked_and_redrawn, False),
        (_sample, False),
        (_first_sample, False),
        (_pasted, False),
    ],
)
def test_a_command_gives_what_the_page_shows_and_saves(
    page: Page,
    case: Case,
    tmp_path: Path,
    shown: Callable[[Page, Case, Path], None],
    is_on_disk: bool,
    language: str,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    shown(page, case, here)
    set_threshold(page, 0.3)
    if is_on_disk:
        expect(page.locator("#sent")).to_be_hidden()
    else:
        with page.expect_download() as download:
            page.click("#save-sent")
        assert download.value.suggested_filename == page.locator("#sent-name").inner_text()
        download.value.save_as(here / download.value.suggested_filename)
    for format in ("png", "coco"):
        expected = downloaded(page, format, tmp_path)
        ran(page, language, here)
        assert (here / expected.name).read_bytes() == expected.read_bytes()
    content = json.loads(expected.read_text())
    assert [each["score"] for each in content["instances"]] == shown_scores(page) != []
    assert content["file_name"] == expected.name.removesuffix(".json")


@pytest.mark.parametrize("language", COMMANDS)
def test_a_command_has_the_options_of_the_response(page: Page, case: Case, tmp_path: Path, language: str) -> None:
    """Class names that aren't plain text are requested by their numbers."""
    _picked(page, case, tmp_path)
    set_threshold(page, 0.1)
    found = page.evaluate("() => visibleInstances().map((each) => server.classes.indexOf(each.category_name))")
    chosen = sorted({*found})[-2:]
    page.click("#number-of-classes")
    for number in chosen:
        page.check(f"#class-list input >> nth={number}")
    page.click("#options summary")
    page.select_option("#tiles", "auto")
    page.fill("#most", "3")
    page.locator("#most").blur()
    expect(page.locator("#curl")).not_to_contain_text("Classes")
    page.click("#options .again")
    expect(page.locator("#curl")).to_contain_text(f"Classes: {','.join(map(str, chosen))}")
    scores = shown_scores(page)
    assert 0 < len(scores) <= 3
    (tmp_path / "saved").mkdir()
    expected = downloaded(page, "coco", tmp_path / "saved")
    ran(page, language, tmp_path)
    content = json.loads((tmp_path / expected.name).read_text())
    assert content == json.loads(expected.read_text())
    assert [each["score"] for each in content["instances"]] == scores
    assert {int(each["category_name"].split()[-1]) for each in content["instances"]} <= {*chosen}


@pytest.mark.parametrize("language", COMMANDS)
def test_what_the_legend_hides_is_not_requested(page: Page, case: Case, tmp_path: Path, language: str) -> None:
    _picked(page, case, tmp_path)
    set_threshold(page, 0.1)
    every = shown_scores(page)
    page.locator("#legend button").first.click()
    left = shown_scores(page)
    assert 0 < len(left) < len(every)
    page.select_option("#format", "coco")
    ran(page, language, tmp_path)
    content = json.loads((tmp_path / "it's [an] image.png.json").read_text())
    assert [each["score"] for each in content["instances"]] == left


def test_every_format_can_be_saved(page: Page, image: Path, tmp_path: Path) -> None:
    upload(page, image)
    set_threshold(page, 0.4)
    count = len(shown_scores(page))
    values = [str(each.get_attribute("value")) for each in page.locator("#format option").all()]
    assert sorted(values) == sorted(FORMATS)
    assert values[:5] == ["png", "coco", "polygons", "csv", "cutouts"]
    files = {name: downloaded(page, name, tmp_path) for name in FORMATS}
    assert {name: path.name for name, path in files.items()} == {
        name: f"{image.name}{each.suffix}" for name, each in FORMATS.items()
    }
    for name in FORMATS:  # some have the same suffix, so each is looked at before the next one is saved
        path = downloaded(page, name, tmp_path)
        if name == "csv":
            rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
            assert [row["file_name"] for row in rows] == [image.name] * count
        elif name == "coco":
            assert len(json.loads(path.read_text())["instances"]) == count
        elif name == "polygons":
            labelme = json.loads(path.read_text())
            assert labelme["imagePath"] == image.name
            assert labelme["shapes"]
        elif name == "cutouts":
            assert len([each for each in zipfile.ZipFile(path).namelist() if each.endswith(".png")]) == count
        elif name in ("png", "labelmap"):
            with Image.open(path) as saved, Image.open(image) as original:
                assert saved.size == original.size


def test_a_download_that_the_server_refuses_is_reported(page: Page, image: Path) -> None:
    upload(page, image)
    page.route("**/predictions/*", lambda route: route.continue_(headers={**route.request.headers, "classes": "x"}))
    page.click("#download")
    expect(page.locator("#status.wrong")).to_contain_text("which is no class of this network")


def test_the_tabs_are_chosen_by_the_arrow_keys(page: Page, image: Path) -> None:
    upload(page, image)
    page.focus("#tab-curl")
    for key, open in (
        ("ArrowRight", "python"),
        ("End", "javascript"),
        ("ArrowRight", "curl"),
        ("ArrowLeft", "javascript"),
    ):
        page.keyboard.press(key)
        expect(page.locator(f"#tab-{open}")).to_be_focused()
        expect(page.locator(f"#tab-{open}")).to_have_attribute("aria-selected", "true")
        assert page.locator("[role=tabpanel]:visible").get_attribute("id") == f"panel-{open}"


def test_the_open_tab_is_copied(page: Page, image: Path) -> None:
    upload(page, image)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#tab-python")
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.locator("#python").text_content()
