"""The models of a server as one page of HTML, without scripts: what each is for, with a link to its own page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from tensormask_server.gateway.api_html import STYLE


def models_html(models: Sequence[Mapping[str, Any]]) -> str:
    """Makes the page.

    Args:
        models: their descriptions, as GET /v1/models has them.
    """
    sections = "".join(map(_section, models))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Models</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<h1>Models of this server</h1>{sections}<p><a href="/docs">How programs use them</a></p></body></html>\n'
    )


def _section(model: Mapping[str, Any]) -> str:
    name = str(model["name"])
    heading = f'<h2><a href="/?model={quote(name, safe="")}">{escape(name)}</a></h2>'
    if "classes" not in model:
        return f"<section>{heading}<p>Its archive says nothing about it.</p></section>"
    about = f"<p>It knows {escape(model['about'])}.</p>" if model["about"] else ""
    found = "Masks and boxes" if model["has_masks"] else "Boxes"
    classes = model["classes"]
    size = f"{model['weights_bytes'] / 1e6:.0f} MB of weights"
    return (
        f"<section>{heading}{about}<p>{found} of {len(classes)} classes; {size}.</p>"
        f"<details><summary>Classes</summary><p>{escape(', '.join(classes))}</p></details></section>"
    )
