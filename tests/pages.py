"""The project's pages in Markdown: their blocks of code, links and anchors."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))  # the commands of these are run
OTHERS = (
    *(page for page in sorted(ROOT.glob("*.md")) if page not in PAGES),
    ROOT / "demo/README.md",
    ROOT / "model_store/README.md",
    *sorted((ROOT / "bench/results").rglob("*.md")),
)
# what a test machine hasn't: the reasons for which a block may be marked <!-- not run: … -->
REASONS = (
    "needs a GPU",
    "needs a CVAT server",
    "needs a Kubernetes cluster",
    "needs a package index",
    "needs detectron2",
    "needs Docker",
    "needs Label Studio",
    "needs root",
    "needs the published files",
)
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>.*) -->\n)?^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE
)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str
    reason: str | None  # why it isn't run; None: it is


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(each["language"], each["text"], each["reason"]) for each in found]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links and images."""
    without_code = re.sub(r"`[^`\n]*`(?!\])", "", prose(page))
    yield from LINK.findall(without_code)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of this page may say after the #, as GitHub makes it."""
    headings = re.findall(r"^#{1,6} (.*)$", prose(page), re.MULTILINE)
    seen: Counter[str] = Counter()
    made = set()
    for heading in headings:
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        made.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return made
