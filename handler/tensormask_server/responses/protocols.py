"""The protocols: each encodes the results of a request's images as one response.

KServe has two protocols with several images in a request. A form with several images is answered as in its version 1.
Every other request has one image.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tensormask_server.formats import FORMATS, JSON
from tensormask_server.responses.encoding import encode, json_bytes, json_tree
from tensormask_server.responses.result import Result

OUTPUT = "predictions"  # the name of the only tensor of an Open Inference response


@dataclass(frozen=True)
class Content:
    """The body of a response."""

    media_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)  # besides Content-Type


class InferenceProtocol(Protocol):
    """The protocol of a request and of its response."""

    def response(self, results: Sequence[Result]) -> Content:
        """Encodes the results of one request.

        Args:
            results: one for each image of the request, in the request's order.

        Raises:
            BadRequest: the response can't be made in a requested format.
        """
        ...


@dataclass(frozen=True)
class OneImage:
    """One image in the request, as a file or as JSON. The response is the format's bytes."""

    def response(self, results: Sequence[Result]) -> Content:
        [result] = results
        return Content(FORMATS[result.response.format].media_type, encode(result))


@dataclass(frozen=True)
class KServeV1:
    """KServe's version 1: {"predictions": [one JSON tree for each image]}."""

    def response(self, results: Sequence[Result]) -> Content:
        return Content(JSON, json_bytes({"predictions": [json_tree(result) for result in results]}))


@dataclass(frozen=True)
class OpenInference:
    """The Open Inference Protocol, KServe's version 2: one BYTES tensor with one JSON text for each image."""

    id: str | None = None  # the request's id, which the response repeats
    is_binary: bool = False  # in the binary extension: the tensor's bytes follow the JSON

    def response(self, results: Sequence[Result]) -> Content:
        texts = [json_bytes(json_tree(result)) for result in results]
        names = {"model_name": results[0].model.name} | ({} if self.id is None else {"id": self.id})
        output: dict[str, Any] = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(texts)]}
        if not self.is_binary:
            output["data"] = [text.decode() for text in texts]
            return Content(JSON, json_bytes({**names, "outputs": [output]}))
        tensor = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        output["parameters"] = {"binary_data_size": len(tensor)}
        head = json_bytes({**names, "outputs": [output]})
        headers = {"Inference-Header-Content-Length": str(len(head))}
        return Content("application/octet-stream", head + tensor, headers)
