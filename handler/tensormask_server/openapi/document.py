"""The whole OpenAPI document: the paths of TorchServe's frontend and those that only the gateway has."""

from typing import Any

from tensormask_server import __version__
from tensormask_server.formats import MODEL_DESCRIPTION
from tensormask_server.openapi.answers import answer_schemas, errors, json_answer, results
from tensormask_server.openapi.bodies import SAMPLE, body_schemas, image_body, json_body
from tensormask_server.openapi.gateway_paths import gateway_paths, gateway_schemas
from tensormask_server.openapi.option_schemas import header_parameters, option_schemas, query_parameters
from tensormask_server.openapi.references import reference

VERSION = "3.1.0"  # of OpenAPI
DESCRIPTION = """\
Instance segmentation: an image in a request, its instances in the response. `docs/REQUESTS.md` describes the options,
formats and errors in words. A server on an address that others reach requires a token."""
MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "The model's name.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$", "examples": ["tensormask"]},
}


def openapi_document() -> dict[str, Any]:
    """Makes the document.

    Returns:
        The document as JSON has it. Its servers have the default ports.
    """
    return {
        "openapi": VERSION,
        "info": {
            "title": "TensorMask segmentation server",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "TorchServe's frontend, or the gateway."}],
        "security": [{}, {"token": []}],
        "paths": {**gateway_paths(), **_model_paths()},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**option_schemas(), **body_schemas(), **answer_schemas(), **gateway_schemas()},
        },
    }


def _model_paths() -> dict[str, Any]:
    infer = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [SAMPLE]}]}
    return {
        "/{model}/predict": _image_path("segment", "Options stand in the query.", query_parameters()),
        "/predictions/{model}": _image_path(
            "predict", "Options stand in headers, and through the gateway also in the query.", header_parameters()
        ),
        "/v1/models/{model}:predict": {
            "parameters": [MODEL],
            "post": {
                "operationId": "predict_v1",
                "summary": "Several images, by KServe's protocol v1",
                "requestBody": json_body("InstancesRequest", {"instances": [{"image": SAMPLE}]}),
                "responses": {
                    "200": json_answer("The detections on each image.", "Predictions", has_headers=True),
                    **errors(),
                },
            },
        },
        "/v2/models/{model}/infer": {
            "parameters": [MODEL],
            "post": {
                "operationId": "infer",
                "summary": "Images in a tensor, by the Open Inference Protocol",
                "requestBody": json_body("InferenceRequest", infer),
                "responses": {
                    "200": json_answer("The detections on each image.", "InferenceResponse", has_headers=True),
                    **errors(),
                },
            },
        },
    }


def _image_path(operation: str, where: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """A path that takes an image in any way, and gives a browser the page."""
    content = {"text/html": {"schema": {"type": "string"}}, MODEL_DESCRIPTION: {"schema": reference("Model")}}
    page_or_description = {"description": "The page to try the model, or its description.", "content": content}
    return {
        "parameters": [MODEL],
        "post": {
            "operationId": operation,
            "summary": "The instances on an image",
            "description": where,
            "parameters": parameters,
            "requestBody": image_body(),
            "responses": {"200": results(), **errors()},
        },
        "get": {
            "operationId": f"{operation}_page",
            "summary": "The page to try the model, for a browser, or the model's description",
            "description": "A browser, whose `Accept` has text/html, gets the page. For the model's description, "
            f"`Accept` is {MODEL_DESCRIPTION}. Otherwise the response is a 400 that says how to post an image.",
            "responses": {"200": page_or_description, **errors()},
        },
    }
