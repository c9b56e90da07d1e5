"""The page that a browser gets at the model's URL. It sends an image to the server and draws the masks over it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tensormask_server.formats import FORMATS
from tensormask_server.network.config import InputConfig
from tensormask_server.prediction.inputs import unreduced_side
from tensormask_server.worker.page.one_file import hashes_of, one_file

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """The page as the server sends it."""

    html: bytes
    content_security_policy: str


def is_for_page(fields: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a request is a browser's GET. It has no body and accepts HTML; TorchServe doesn't pass on the method.

    Args:
        fields: the request's body, form fields and query parameters.
        headers: the request's headers.
    """
    accept = next((value for name, value in headers.items() if name.lower() == "accept"), "")
    return "text/html" in accept and not any(fields.values())


def try_it_page(
    model: str,
    max_pixels: int,
    max_side: int,
    score_threshold: float,
    class_names: Sequence[str],
    about: str,
    input_config: InputConfig,
    tile_size: int | str | None = None,
) -> Page:
    """Makes the page of one model.

    Args:
        model: the model's name. The page sends images to its URL, and shows that URL in a command for curl.
        max_pixels, max_side: the server's limits. The page shrinks larger images before it sends them.
        score_threshold: the first value of the page's slider.
        class_names: what the model finds. The page lists them.
        about: the end of a sentence that begins with "This network knows", or "".
        input_config: of the network. The page offers tiles for an image that the network would see reduced.
        tile_size: of a request that doesn't say; None: no tiles.

    Returns:
        The page, and the content security policy under which a browser runs it.
    """
    sample = base64.b64encode((FOLDER / "sample.jpg").read_bytes()).decode()
    html = one_file(FOLDER / "page.html")
    classes = f"{len(class_names)} classes: {', '.join(class_names)}."
    html = html.replace("CLASSES", escape(f"{about}. Its {classes}" if about else classes))
    data: dict[str, Any] = {
        "model": model,
        "max-pixels": max_pixels,
        "max-side": max_side,
        "score-threshold": score_threshold,
        # 0: no image is reduced
        "unreduced-side": unreduced_side(input_config) if input_config.min_size else 0,
        "longest-side": input_config.max_size if input_config.min_size else 0,
        "tile-size": tile_size or "none",
    }
    data["formats"] = " ".join(f"{each.name}{each.suffix}" for each in FORMATS.values())
    data["sample"] = sample
    attributes = " ".join(f'data-{name}="{escape(str(value))}"' for name, value in data.items())
    html = html.replace('<html lang="en">', f'<html lang="en" {attributes}>')
    # a browser runs only this script and has only these styles, and connects to no other server
    policy = (
        f"default-src 'none'; script-src {hashes_of('script', html)}; style-src {hashes_of('style', html)}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy)
