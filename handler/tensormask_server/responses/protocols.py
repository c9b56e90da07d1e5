"""How a request's protocol puts the results of its images into one response.

KServe's clients speak two protocols with several images in a request; every other request has one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tensormask_server.formats import FORMATS
from tensormask_server.responses.encoding import encode, json_bytes, json_tree
from tensormask_server.responses.result import Result

JSON = "application/json"
OUTPUT = "predictions"  # the name of the only tensor of an Open Inference response


@dataclass(frozen=True)
class Content:
    """The body of a response."""

    media_type: str
    body: bytes


class InferenceProtocol(Protocol):
    """The protocol of a request: it knows how to answer."""

    def response(self, results: Sequence[Result], formats: Sequence[str]) -> Content:
        """
        Args:
            results: of the request's images, in its order.
            formats: the requested format for each image, one of FORMATS.

        Raises:
            BadRequest: the response can't be made in such a format.
        """
        ...


@dataclass(frozen=True)
class OneImage:
    """An image or a JSON object in, and the format's bytes out."""

    def response(self, results: Sequence[Result], formats: Sequence[str]) -> Content:
        (result,), (format,) = results, formats
        return Content(FORMATS[format].media_type, encode(result, format))


@dataclass(frozen=True)
class KServeV1:
    """KServe's version 1: {"predictions": [one JSON tree for each image]}."""

    def response(self, results: Sequence[Result], formats: Sequence[str]) -> Content:
        trees = [json_tree(result, format) for result, format in zip(results, formats, strict=True)]
        return Content(JSON, json_bytes({"predictions": trees}))


@dataclass(frozen=True)
class OpenInference:
    """The Open Inference Protocol, KServe's version 2: one BYTES tensor with one JSON text for each image."""

    id: str | None = None  # the request's own name for itself, which its response repeats

    def response(self, results: Sequence[Result], formats: Sequence[str]) -> Content:
        texts = [
            json_bytes(json_tree(result, format)).decode() for result, format in zip(results, formats, strict=True)
        ]
        output = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(texts)], "data": texts}
        names = {"model_name": results[0].model.name} | ({} if self.id is None else {"id": self.id})
        return Content(JSON, json_bytes({**names, "outputs": [output]}))
