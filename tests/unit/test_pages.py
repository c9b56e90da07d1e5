"""The documentation's links, options and marks. Its commands are run by tests/served/test_documentation.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tensormask_server import __version__

from tests.pages import OTHERS, PAGES, REASONS, ROOT, anchors, blocks, links, prose

LANGUAGES = {"sh", "python", "js", "yaml", "json", "text", "xml"}
COMMAND = re.compile(
    r"^ {4,}(\.venv/|\./|make |curl |docker |kubectl |git |python3? |apt-get |cp |bench/)", re.MULTILINE
)
NAMES = [str(page.relative_to(ROOT)) for page in (*PAGES, *OTHERS)]
LONGEST_README = 180  # lines: a user with an image in hand reads it to the end


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    assert broken_links(ROOT / name) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c\n[1](page.md#a-b-c) [2](#a) [3](no.md) ![4](no.png) [5\n6](no.md#a) [7](https://no.org)\n"
    )
    assert broken_links(page) == ["#a", "no.md", "no.png", "no.md#a"]


def broken_links(page: Path) -> list[str]:
    """The links to other pages and headings that lead nowhere."""
    broken = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if re.match(r"[a-z]+:", target):
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_stand_in_blocks_that_are_run_or_say_why_not(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES
    assert {block.reason for block in blocks(page)} <= {None, *REASONS}
    assert len(blocks(page)) * 2 == len(re.findall(r"^ *```", page.read_text(), re.MULTILINE))
    assert page.read_text().count("<!-- not run") == sum(block.reason is not None for block in blocks(page))
    assert COMMAND.findall(prose(page)) == []


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs/README.md"
    named = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert {*(ROOT / "docs").glob("*.md")} - {index} <= named


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README


def test_the_wheel_to_install_has_the_version_of_the_package() -> None:
    page = (ROOT / "docs/INSTALL.md").read_text()
    assert re.findall(r"tensormask_segmentation_server-(.*?)-py3-none-any\.whl", page) == [__version__]


BOTH = "Of both commands"


@pytest.mark.parametrize(
    ("module", "headings", "elsewhere"),
    [
        ("archive", (BOTH, "Of `archive.sh` only"), ()),
        ("launcher", (BOTH, "Of `tensormask-server` only"), ()),
        (
            "gateway",
            ("Of `tensormask-gateway` only",),
            (
                "--cors-origin",
                "--idle-timeout",
                "--stop-timeout",
                "--request-log",
                "--label-studio",
                "--label-studio-token-file",
            ),
        ),
    ],
)
def test_every_option_is_documented_with_its_default(
    module: str, headings: tuple[str, ...], elsewhere: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", f"tensormask_server.{module}", "--help"]
    environment = {**os.environ, "COLUMNS": "1000"}  # an option, its help and its default on one line
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    sections = dict(part.split("\n", 1) for part in (ROOT / "docs/OPTIONS.md").read_text().split("\n## ")[1:])
    rows = [line for heading in headings for line in sections[heading].splitlines() if line.startswith("| `-")]
    options = re.findall(r"^  (-.*?)(?:  +(.*))?$", text, re.MULTILINE)
    assert len(options) > 10
    for names, meaning in options:
        long = re.findall(r"--[a-z0-9-]+", names)[0]
        if long in ("--help", "--version"):
            continue
        if long in elsewhere:
            assert f"`{long}`" in sections[headings[-1]]
            continue
        [row] = [line for line in rows if re.search(f"`{long}[` ]", line.split(" | ")[0])]
        default = re.search(r"\(default: ([\w./-]+)\)", meaning)
        assert default is None or f" {default[1]} |" in row, long
