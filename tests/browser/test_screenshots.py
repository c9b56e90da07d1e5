"""The command that takes the documentation's screenshots."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from demo.screenshots import SCHEMES, STATES, WIDTHS, write_pictures
from tests.browser.pages import skip_without_chromium

pytestmark = pytest.mark.extensive

ROOT = Path(__file__).parents[2]
MOST_BYTES = 500_000  # of the documentation's pictures of the page together


def test_each_state_is_taken_at_each_width_and_in_both_schemes(tmp_path: Path) -> None:
    skip_without_chromium()
    # in a process of its own: this one may have a browser of other tests
    code = "import sys; from pathlib import Path; from demo.screenshots import take; take(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "all")], cwd=ROOT, check=True)
    for state in STATES:
        for width, height in WIDTHS.items():
            for scheme in SCHEMES:
                with Image.open(tmp_path / "all" / f"{state}-{width}-{scheme}.png") as window:
                    assert window.size == (width, height)
                with Image.open(tmp_path / "all" / f"{state}-{width}-{scheme}-whole.png") as whole:
                    assert whole.width == width  # nothing is wider than the window
    write_pictures(tmp_path / "all", tmp_path)
    for name in ("browser.webp", "page_states.webp"):
        with Image.open(tmp_path / name) as made, Image.open(ROOT / "demo" / "results" / name) as committed:
            assert made.size == committed.size


def test_the_committed_pictures_are_small() -> None:
    sizes = [(ROOT / "demo" / "results" / name).stat().st_size for name in ("browser.webp", "page_states.webp")]
    assert sum(sizes) < MOST_BYTES
