"""The page that a browser gets at the model's URL: an image in, its masks drawn over it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """The page as it is sent."""

    html: bytes
    content_security_policy: str


def asks_for_page(fields: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a request is a browser's GET: TorchServe doesn't show the method, but no body and an Accept for HTML."""
    accept = next((value for name, value in headers.items() if name.lower() == "accept"), "")
    return "text/html" in accept and not any(fields.values())


def try_it_page(model: str, max_pixels: int, max_side: int, score_threshold: float) -> Page:
    """Makes the page of one model.

    Args:
        model: its name, of which the page makes the URL that it sends images to and shows for curl.
        max_pixels, max_side: the server's limits; the page makes larger images smaller before it sends them.
        score_threshold: where the page's slider stands first.

    Returns:
        The page, and the policy under which a browser runs it.
    """
    sample = base64.b64encode((FOLDER / "sample.jpg").read_bytes()).decode()
    html = (FOLDER / "page.html").read_text(encoding="utf-8")
    data = {"model": model, "max-pixels": max_pixels, "max-side": max_side, "score-threshold": score_threshold}
    data["sample"] = sample
    attributes = " ".join(f'data-{name}="{escape(str(value))}"' for name, value in data.items())
    html = html.replace('<html lang="en">', f'<html lang="en" {attributes}>')
    # nothing but this script and these styles, and no other server
    policy = (
        f"default-src 'none'; script-src '{_hash_of('script', html)}'; style-src '{_hash_of('style', html)}'; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy)


def _hash_of(tag: str, html: str) -> str:
    content = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    assert content is not None
    return f"sha256-{base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()}"
