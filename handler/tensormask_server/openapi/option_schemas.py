"""A request's options in the OpenAPI document, and the table of them in docs/REQUESTS.md."""

import re
from typing import Any

from tensormask_server.openapi.references import reference
from tensormask_server.option_table import OPTIONS

LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")  # of Markdown; the pages that it leads to aren't in the document
LIST: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}


def option_schemas() -> dict[str, Any]:
    """The schema of each option, by its name among the components."""
    return {_component(name): {**option.schema, "description": _description(name)} for name, option in OPTIONS.items()}


def option_properties() -> dict[str, Any]:
    """The options as properties of a JSON object or of a form."""
    return {name: reference(_component(name)) for name in OPTIONS}


def query_parameters() -> list[dict[str, Any]]:
    """The options as parameters of a URL's query."""
    return [_parameter(name, name, "query") for name in OPTIONS]


def header_parameters() -> list[dict[str, Any]]:
    """The options as headers."""
    return [_parameter(name, name.replace("_", "-").title(), "header") for name in OPTIONS]


def options_table() -> str:
    """The table of the options in Markdown."""
    rows = [f"| `{name}` | {option.meaning} | {option.default} |" for name, option in OPTIONS.items()]
    return "\n".join(["| option | value | default |", "|---|---|---|", *rows]) + "\n"


def _parameter(option: str, name: str, place: str) -> dict[str, Any]:
    schema: dict[str, Any] = reference(_component(option))
    if option == "classes":  # a query may repeat it
        schema = LIST if place == "query" else LIST["items"]
    return {"name": name, "in": place, "description": _description(option), "schema": schema}


def _description(name: str) -> str:
    option = OPTIONS[name]
    return LINK.sub(r"\1", f"{option.meaning}. Default: {option.default}.")


def _component(name: str) -> str:
    return "".join(word.title() for word in name.split("_"))
