"""The OpenAPI document: it is valid and up to date, and says what the parser accepts and the encoders write."""

import json
import subprocess
import sys
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from tensormask_server.formats import FORMATS
from tensormask_server.openapi.answers import JSON_FORMATS
from tensormask_server.openapi.bodies import SAMPLE
from tensormask_server.openapi.document import openapi_document
from tensormask_server.openapi.option_schemas import options_table
from tensormask_server.option_table import OPTIONS
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import parse_request
from tensormask_server.responses.encoding import encode, error_json, json_tree
from tensormask_server.responses.protocols import KServeV1, OpenInference

from tests.pages import ROOT
from tests.unit.requests.test_options import BAD_OPTIONS, CLASSES
from tests.unit.responses.examples import shapes

STALE = "it isn't what the table of options makes; run: make openapi"


def printed(*arguments: str) -> str:
    command = [sys.executable, "-m", "tensormask_server.openapi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout


def check(value: Any, schema: str) -> None:
    """Checks a value against one of the document's schemas."""
    document = openapi_document()
    own = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    Draft202012Validator(own).validate(value)


def test_the_document_is_valid() -> None:
    validate(openapi_document())


def test_the_file_and_the_table_in_the_documentation_are_up_to_date() -> None:
    assert (ROOT / "docs/openapi.yaml").read_text(encoding="utf-8") == printed(), STALE
    assert printed("--options") in (ROOT / "docs/REQUESTS.md").read_text(encoding="utf-8"), STALE
    assert printed("--options") == options_table()


def test_the_command_needs_no_torch() -> None:
    script = (
        "import sys, tensormask_server.openapi.document; print(sorted({'torch', 'PIL', 'numpy'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def is_described(name: str, value: object) -> bool:
    return Draft202012Validator({**OPTIONS[name].schema}).is_valid(value)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_parser_refuses_what_the_schema_of_an_option_refuses_and_takes_its_bounds(name: str) -> None:
    """A text may stand for its value, as in a form: the schema describes the value itself."""
    assert bounds(OPTIONS[name].schema) or name == "tile_whole"
    for value in bounds(OPTIONS[name].schema):
        assert is_described(name, value)
        parsed(name, value)
    bad = [value for value in BAD_OPTIONS.get(name, []) if not isinstance(value, str | list)]
    for value in bad:
        if name != "classes" or not isinstance(value, int):  # how many classes a network has isn't in the document
            assert not is_described(name, value), value


def bounds(schema: Any) -> list[Any]:
    """The outermost values that a schema allows, and each of its words."""
    inner = [value for each in schema.get("anyOf", []) for value in bounds(each)]
    ends = [schema[key] for key in ("minimum", "maximum") if key in schema]
    texts = ["x" * schema["maxLength"]] if schema.get("maxLength") == 1000 else []
    return [*inner, *ends, *texts, *schema.get("enum", []), *schema.get("examples", [])]


def parsed(name: str, value: object) -> None:
    body = json.dumps({"image": SAMPLE, name: value}).encode()
    parse_request({"body": body}, {}, Limits(max_mask_pixels=1 << 40), CLASSES)


@pytest.mark.parametrize("name", JSON_FORMATS)
@pytest.mark.parametrize("options", [{}, {"image_id": 7, "file_name": "a.jpg", "image_data": "none"}])
def test_a_response_in_json_is_as_its_schema_says(name: str, options: dict[str, Any]) -> None:
    check(json.loads(encode(shapes(format=name, **options))), JSON_FORMATS[name])
    check({"predictions": [json_tree(shapes(format=name, **options))]}, "Predictions")


def test_every_format_is_described() -> None:
    assert set(JSON_FORMATS) == {each.name for each in FORMATS.values() if each.is_json}
    content = openapi_document()["paths"]["/{model}/predict"]["post"]["responses"]["200"]["content"]
    assert set(content) == {each.media_type for each in FORMATS.values()}


def test_the_protocols_and_errors_are_described() -> None:
    check(json.loads(KServeV1().response([shapes(), shapes()]).body), "Predictions")
    check(json.loads(OpenInference("7").response([shapes()]).body), "InferenceResponse")
    check(json.loads(error_json("found", "expected")), "Error")


def test_the_examples_are_answered() -> None:
    """A viewer sends them as they are."""
    document = openapi_document()
    bodies = [
        example["value"]
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict) and "requestBody" in operation
        for media_type in operation["requestBody"]["content"].values()
        for example in media_type.get("examples", {}).values()
    ]
    assert len(bodies) >= 4
    for body in bodies:
        [item] = parse_request({"body": json.dumps(body).encode()}, {}, Limits(), CLASSES).items
        assert item.image.shape == (16, 16, 3)
