"""An OpenAPI document as one page of HTML, without scripts: for each path what it takes and what it answers."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from tensormask_server.formats import JSON

Node = Mapping[str, Any]  # of the document

METHODS = ("get", "put", "post", "delete")
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 code { font-size: 1rem; } h2 { border-top: 1px solid #8886; padding-top: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .875rem; }
pre { overflow-x: auto; border: 1px solid #8886; border-radius: .25rem; padding: .75rem; }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8883; }
li { margin: .125rem 0; }
"""
STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}"


def api_html(document: Node) -> str:
    """Makes the page.

    Args:
        document: of OpenAPI 3, as JSON has it.
    """
    info = document["info"]
    operations = [
        (
            method,
            path,
            {**item[method], "parameters": [*item.get("parameters", []), *item[method].get("parameters", [])]},
        )
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]
    links = "".join(
        f'<li><a href="#{escape(each["operationId"])}"><code>{method.upper()} {escape(path)}</code></a> '
        f"{_text(each['summary'])}</li>"
        for method, path, each in operations
    )
    sections = "".join(_operation(document, *each) for each in operations)
    schemas = "".join(_schema_section(name, each) for name, each in document["components"]["schemas"].items())
    title = escape(info["title"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{title} {escape(info['version'])}</h1><p>{_text(info['description'])}</p>"
        f'<p><a href="/openapi.json">openapi.json</a> is the same for programs.</p><ul>{links}</ul>{sections}'
        f"<h1>Schemas</h1>{schemas}</body></html>\n"
    )


def _operation(document: Node, method: str, path: str, operation: Node) -> str:
    parts = [
        f'<section id="{escape(operation["operationId"])}"><h2><code>{method.upper()} {escape(path)}</code></h2>',
        f"<p>{_text(operation['summary'])}. {_text(operation.get('description', ''))}</p>",
    ]
    if operation["parameters"]:
        parameters = [
            (
                f"<code>{escape(each['name'])}</code>",
                escape(each["in"]),
                _text(each.get("description", "")),
                _type(document, each["schema"]),
            )
            for each in operation["parameters"]
        ]
        parts.append(f"<h3>Parameters</h3>{_table(('name', 'in', 'meaning', 'type'), parameters)}")
    if body := operation.get("requestBody"):
        parts.append(f"<h3>Body</h3><p>{_text(body.get('description', ''))}</p>{_contents(document, body['content'])}")
    parts.append("<h3>Responses</h3>")
    rows = [
        (f"<code>{escape(status)}</code>", _text(each["description"]), _contents(document, each.get("content", {})))
        for status, each in operation["responses"].items()
    ]
    return "".join([*parts, _table(("status", "meaning", "body"), rows), "</section>"])


def _contents(document: Node, content: Node) -> str:
    """The bodies by their media types, each with an example in JSON if there is one."""
    items = []
    for media_type, each in content.items():
        examples = (
            [each["example"]] if "example" in each else [one["value"] for one in each.get("examples", {}).values()]
        )
        shown = f"<pre>{_json(examples[0])}</pre>" if media_type == JSON and examples else ""
        items.append(f"<li><code>{escape(media_type)}</code>: {_type(document, each.get('schema', {}))}{shown}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _schema_section(name: str, schema: Node) -> str:
    return f'<section id="schema-{escape(name)}"><h2>{escape(name)}</h2><pre>{_json(schema)}</pre></section>'


def _type(document: Node, schema: Node) -> str:
    """A schema in a few words, with a link to where it stands whole."""
    if reference := schema.get("$ref"):
        name = str(reference).rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(_type(document, each) for each in choices)
    if "items" in schema:
        return f"list of {_type(document, schema['items'])}"
    words = [
        str(schema.get("type", "any")),
        *(str(schema[key]) for key in ("format", "contentMediaType") if key in schema),
    ]
    return escape(", ".join(words))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{names}</tr>{lines}</table></div>'


def _text(text: str) -> str:
    """A line of Markdown, of which only `code` is known."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return escape(text if len(text) < 1500 else f"{text[:1500]} …")
