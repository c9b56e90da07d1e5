"""The page /docs: every operation of the document is there, and a browser loads nothing for it."""

from html.parser import HTMLParser

from tensormask_server.gateway.api_html import api_html
from tensormask_server.gateway.api_page import POLICY
from tensormask_server.openapi.document import openapi_document

VOID = {"meta", "link", "img", "br"}
LOADING = {"src", "srcset", "action", "data", "background"}


class Read(HTMLParser):
    """Reads the page, and checks that each element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name not in LOADING
            assert not name.startswith("on")
            self.ids |= {value or ""} if name == "id" else set()
            self.targets |= {value or ""} if name == "href" else set()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(document: dict[str, object]) -> Read:
    reading = Read()
    reading.feed(api_html(document))
    reading.close()
    assert reading.open == []
    return reading


def test_every_operation_and_schema_is_on_the_page() -> None:
    document = openapi_document()
    page = read(document)
    for path, item in document["paths"].items():
        for method in {"get", "post", "put", "delete"} & item.keys():
            assert item[method]["operationId"] in page.ids
            assert f"{method.upper()} {path}" in page.text
            assert all(status in page.text for status in item[method]["responses"])
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= page.ids


def test_the_gateways_own_paths_come_first() -> None:
    text = read(openapi_document()).text
    first = [text.index(f"{each} ") for each in ("POST /v1/segment", "GET /v1/models", "POST /predictions/{model}")]
    assert first == sorted(first)


def test_links_stay_on_the_page_and_nothing_is_loaded() -> None:
    page = read(openapi_document())
    assert {target.removeprefix("#") for target in page.targets} - {"/openapi.json"} <= page.ids
    assert not page.tags & {"script", "img", "link", "iframe", "object", "form"}
    assert "default-src 'none'" in POLICY


def test_texts_are_escaped() -> None:
    hostile = '<img src=x onerror="1">'
    operation = {"operationId": "a", "summary": hostile, "responses": {"200": {"description": hostile}}}
    parameter = {"name": hostile, "in": "query", "schema": {"type": hostile}, "description": f"`{hostile}`"}
    document = {
        "info": {"title": hostile, "version": hostile, "description": hostile},
        "paths": {f"/{hostile}": {"get": {**operation, "parameters": [parameter]}}},
        "components": {"schemas": {"A": {"description": hostile}}},
    }
    assert "img" not in read(document).tags
