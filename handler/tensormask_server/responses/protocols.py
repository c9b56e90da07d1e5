"""The protocols: each encodes the results of a request's images as one response.

KServe has two protocols with several images in a request. Every other request has one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tensormask_server.formats import FORMATS, JSON
from tensormask_server.responses.encoding import encode, json_bytes, json_tree
from tensormask_server.responses.result import Result

OUTPUT = "predictions"  # the name of the only tensor of an Open Inference response


@dataclass(frozen=True)
class Content:
    """The body of a response."""

    media_type: str
    body: bytes


class InferenceProtocol(Protocol):
    """The protocol of a request and of its response."""

    def response(self, results: Sequence[Result], formats: Sequence[str]) -> Content:
        """Encodes the results of one request.

        Args:
            results: one for each image of the request, in the request's order.
            formats: the requested format for each image, one of FORMATS.

        Raises:
            BadRequest: the response can't be made in such a format.
        """
        ...


@dataclass(frozen=True)
class OneImage:
    """One image in the request, as a file or as JSON. The response is the format's bytes."""

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

    id: str | None = None  # the request's id, which the response repeats

    def response(self, results: Sequence[Result], formats: Sequence[str]) -> Content:
        texts = [
            json_bytes(json_tree(result, format)).decode() for result, format in zip(results, formats, strict=True)
        ]
        output = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(texts)], "data": texts}
        names = {"model_name": results[0].model.name} | ({} if self.id is None else {"id": self.id})
        return Content(JSON, json_bytes({**names, "outputs": [output]}))
