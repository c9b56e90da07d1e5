"""TorchServe's entry point: it converts between TorchServe and `worker.service`, which does the rest."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

# The archive's files are checked, and bytecode that Python writes beside them isn't one of them. Python writes this
# module's bytecode before it runs the module, so only that file is accepted.
sys.dont_write_bytecode = True

# ruff: noqa: E402
from tensormask_server import __version__
from tensormask_server.options import handler_options
from tensormask_server.printable import one_line
from tensormask_server.reports import FAILED, report
from tensormask_server.request_log import RequestLog
from tensormask_server.tied import end_with_parent
from tensormask_server.worker.cores import share_cores
from tensormask_server.worker.devices import device_of_worker
from tensormask_server.worker.left_out import left_out
from tensormask_server.worker.loading import load_service
from tensormask_server.worker.metrics import COUNTERS, HISTOGRAMS, Measurement
from tensormask_server.worker.service import RawRequest, Response, Service
from ts.context import Context
from ts.metrics.metric_type_enum import MetricTypes
from ts.service import Service as TorchServeService

# BaseHandler's module imports these for kinds of models that it loads itself. They take two seconds and 150 MB of each
# worker. The engine openvino imports what it needs later. The module logs that OpenVINO is not enabled, also with that
# engine.
logging.getLogger("ts.torch_handler.base_handler").setLevel(logging.ERROR)
with left_out("openvino.torch", "onnxruntime", "torch_tensorrt"):
    from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)

Requests = tuple[list[Any], list[dict[str, Any]], dict[int, str]]  # TorchServe's: headers, fields and ids of a batch

RESPONSE_TIMEOUT = 120  # seconds, TorchServe's default; after them it ends the worker

retrieve_last_values: Callable[[Any], Requests] = TorchServeService.retrieve_data_for_inference


def retrieve_all_values(batch: Any) -> Requests:
    """Reads a batch as TorchServe does, except that a field that a request has several times keeps all its values.

    Args:
        batch: TorchServe's message.

    Returns:
        The batch's headers, fields and ids. Such a field is the list of its values. TorchServe keeps only the last one.
    """
    headers, all_fields, ids = retrieve_last_values(batch)
    for fields, request in zip(all_fields, batch, strict=True):
        if len(fields) == len(request["parameters"]):
            continue  # no name is repeated
        values: dict[str, list[Any]] = {}
        for part in request["parameters"]:
            values.setdefault(part["name"], []).append(part["value"])
        fields.update({name: each for name, each in values.items() if len(each) > 1})
    return headers, all_fields, ids


class TensorMaskHandler(BaseHandler):  # type: ignore[misc]
    """The only class that knows TorchServe."""

    def initialize(self, context: Context) -> None:
        """Loads the network from the archive's files and runs it once, so that a ready worker is warm.

        Raises:
            Exception: the archive's content can't be used; the reason is logged in one line first.
        """
        # the worker gets bodies as they came: TorchServe's own decoding of JSON takes longer than all that this
        # handler does beside the network
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        TorchServeService.retrieve_data_for_inference = staticmethod(retrieve_all_values)
        self.context = context
        end_with_parent()
        try:
            self.service = self._load(context)
        except Exception as error:
            reason = one_line(error)
            logger.error("LOAD FAILED: %s", reason)
            report(FAILED, reason)
            raise
        self.initialized = True

    def _load(self, context: Context) -> Service:
        properties = context.system_properties
        model_config = context.model_yaml_config or {}
        options = handler_options(model_config.get("handler"))
        self.device = device_of_worker(options.device, properties.get("gpu_id"))
        share_cores(int(model_config.get("minWorkers", 1)))
        self._declare_metrics(context)
        weights = context.manifest["model"]["serializedFile"]
        model_dir = Path(properties["model_dir"])
        response_timeout = int(model_config.get("responseTimeout") or RESPONSE_TIMEOUT)
        service = load_service(
            model_dir,
            weights,
            context.model_name,
            options,
            self.device,
            self._record,
            RequestLog.of_environment(),
            response_timeout / 2,
        )
        logger.info("tensormask_server %s ready on %s, with options %s", __version__, self.device, options)
        return service

    def handle(self, data: list[Mapping[str, Any]], context: Context) -> list[bytes]:
        """Returns the response bodies of a batch. Unlike BaseHandler, it ignores requests for "describe" in headers."""
        self.context = context
        bodies: list[bytes] = self.postprocess(self.inference(self.preprocess(data)))
        return bodies

    def preprocess(self, data: list[Mapping[str, Any]]) -> list[RawRequest]:
        """
        Args:
            data: TorchServe's fields of each request: the body under "body", or a form's fields, and the query's.

        Returns:
            The requests, with TorchServe's own ids.
        """
        return [
            RawRequest(fields, self.context.get_all_request_header(index), self.context.get_request_id(index) or "")
            for index, fields in enumerate(data)
        ]

    def inference(self, requests: Sequence[RawRequest]) -> list[Response]:
        """The response to each request."""
        return self.service.respond(requests)

    def postprocess(self, responses: Sequence[Response]) -> list[bytes]:
        """Gives the statuses and headers to TorchServe's context, and returns the bodies."""
        for index, response in enumerate(responses):
            if response.status != HTTPStatus.OK:
                self.context.set_response_status(response.status, HTTPStatus(response.status).phrase, index)
            headers = dict(response.headers)
            self.context.set_response_content_type(index, headers.pop("Content-Type"))  # TorchServe's own name for it
            for name, value in headers.items():
                self.context.set_response_header(index, name, value)
        return [response.body for response in responses]

    def _declare_metrics(self, context: Context) -> None:
        self.metrics = {
            name: context.metrics.add_metric_to_cache(name, unit, list(labels), metric_type)
            for metric_type, declared in ((MetricTypes.HISTOGRAM, HISTOGRAMS), (MetricTypes.COUNTER, COUNTERS))
            for name, (unit, labels) in declared.items()
        }

    def _record(self, measurement: Measurement) -> None:
        self.metrics[measurement.name].add_or_update(measurement.value, list(measurement.labels))
