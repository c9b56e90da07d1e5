"""The page that a browser gets at the model's URL. It sends an image to the server and draws the masks over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.options import HandlerOptions
from tensormask_server.sample_images import Sample
from tensormask_server.worker.page.description import description, script_safe
from tensormask_server.worker.page.one_file import hashes_of, one_file

FOLDER = Path(__file__).parent
PLACE = "<!-- what the page knows about its model -->"  # in page.html


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
    name: str,
    class_names: Sequence[str],
    options: HandlerOptions,
    config: TensorMaskConfig,
    samples: Sequence[Sample] = (),
    answer: bytes | None = None,
) -> Page:
    """Makes the page of one model.

    Args:
        name, class_names, options, config, samples, answer: as in `description`.

    Returns:
        The page, and the content security policy under which a browser runs it.
    """
    data = script_safe(description(name, class_names, options, config, samples, answer))
    html = one_file(FOLDER / "page.html").replace(PLACE, f'<script type="application/json" id="server">{data}</script>')
    # a browser runs only this script and has only these styles, and connects to no other server
    policy = (
        f"default-src 'none'; script-src {hashes_of('script', html)}; style-src {hashes_of('style', html)}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy)
