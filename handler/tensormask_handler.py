"""TorchServe's entry point: the pictures of a batch of requests in, an answer for each out."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensormask_server.options import handler_options
from tensormask_server.predictor import Detections, load_predictor
from tensormask_server.requests import BadRequest, SegmentationRequest, parse_request
from tensormask_server.responses import error_json, gzipped_torch
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class TensorMaskHandler(BaseHandler):  # type: ignore[misc]
    """Each request of a batch is answered on its own: a bad one gets its 400, and costs the others nothing."""

    def initialize(self, context: Context) -> None:
        """Builds the network from the archive's files and runs it once, so that a ready worker is a warm one.

        Raises:
            Exception: the archive's content can't be used; the reason is logged in one line first.
        """
        # bodies as they came: TorchServe's own decoding of JSON takes longer than everything else around the network
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        self.context = context
        try:
            self._load(context)
        except Exception as error:
            logger.error("LOAD FAILED: %s", " ".join(str(error).split()))
            raise
        self.initialized = True

    def _load(self, context: Context) -> None:
        properties = context.system_properties
        model_dir = Path(properties["model_dir"])
        gpu_id = properties.get("gpu_id")
        on_gpu = torch.cuda.is_available() and gpu_id is not None
        self.device = torch.device(f"cuda:{gpu_id}" if on_gpu else "cpu")
        self.options = handler_options((context.model_yaml_config or {}).get("handler"))
        weights = model_dir / context.manifest["model"]["serializedFile"]
        self.predictor = load_predictor(model_dir / "config.yaml", weights, self.device, self.options.precision)
        self.predictor([np.zeros((480, 640, 3), np.uint8)])
        logger.info("ready on %s, %s, with options %s", self.device, self.options.precision, self.options)

    def handle(self, data: list[Mapping[str, Any]], context: Context) -> list[bytes]:
        """One answer per request. Unlike BaseHandler's, it takes no orders from request headers ("describe")."""
        self.context = context
        answers: list[bytes] = self.postprocess(self.inference(self.preprocess(data)))
        return answers

    def preprocess(self, data: list[Mapping[str, Any]]) -> list[SegmentationRequest | BadRequest]:
        """
        Args:
            data: per request TorchServe's fields, the body under "body".

        Returns:
            Per request the picture and its options, or what is wrong with it.
        """
        return [self._parsed(fields) for fields in data]

    def inference(self, requests: list[SegmentationRequest | BadRequest]) -> list[Detections | BadRequest]:
        """The network, for the good requests of the batch together."""
        good = [request for request in requests if isinstance(request, SegmentationRequest)]
        default = self.options.score_threshold
        thresholds = [default if each.score_threshold is None else each.score_threshold for each in good]
        found = iter(self.predictor([request.picture for request in good], thresholds))
        return [next(found) if isinstance(request, SegmentationRequest) else request for request in requests]

    def postprocess(self, results: list[Detections | BadRequest]) -> list[bytes]:
        """The bytes of each answer; its status and content type go to TorchServe's context."""
        return [self._answer(index, result) for index, result in enumerate(results)]

    def _parsed(self, fields: Mapping[str, Any]) -> SegmentationRequest | BadRequest:
        try:
            return parse_request(_body(fields), self.options.max_pixels)
        except BadRequest as error:
            return error

    def _answer(self, index: int, result: Detections | BadRequest) -> bytes:
        if isinstance(result, Detections):
            answer = gzipped_torch(result)
            limit = self.options.max_response_bytes
            if len(answer) <= limit:
                self.context.set_response_content_type(index, "application/gzip")
                return answer
            result = BadRequest(
                f"the answer, {len(result)} masks, has {len(answer)} bytes, more than the {limit} allowed",
                "a smaller picture or a higher threshold",
            )
        self.context.set_response_status(400, "Bad Request", index)
        self.context.set_response_content_type(index, "application/json")
        return error_json(result)


def _body(fields: Mapping[str, Any]) -> Any:
    """The request's body, or a file sent as the form field "data"."""
    for name in ("body", "data"):
        if name in fields:
            return fields[name]
    raise BadRequest(
        "the request came as a form, and its body was lost: curl -d sends one unless told otherwise",
        "curl -H 'Content-Type: application/json' --data-binary @picture.json, or curl -T picture.json",
    )
