"""TorchServe's entry point: the requests of a batch in, an answer for each out."""

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

# The archive's files are checked, and bytecode that Python writes beside them is none of them. Python writes that of
# this module before it runs it, so that alone is admitted.
sys.dont_write_bytecode = True

# ruff: noqa: E402
import numpy as np
import torch
from tensormask_server.bad_request import BadRequest, FullBatchError, fault_of
from tensormask_server.classes import class_names
from tensormask_server.cpu import SlowPrecisionWarning
from tensormask_server.detections import PredictionOptions, UnsupportedOption
from tensormask_server.engine import Engine, load_engine
from tensormask_server.finite import finite_layers
from tensormask_server.integrity import check_sums
from tensormask_server.job import Job
from tensormask_server.metrics import Metrics
from tensormask_server.options import handler_options
from tensormask_server.page import asks_for_page, try_it_page
from tensormask_server.printable import one_line
from tensormask_server.reports import FAILED, SLOW, report
from tensormask_server.requests.parsing import SegmentationRequest, parse_request
from tensormask_server.responses import Found, Model, error_json
from tensormask_server.tied import end_with_parent
from tensormask_server.timing import Stopwatch
from ts.context import Context
from ts.metrics.metric_type_enum import MetricTypes
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
        end_with_parent()
        try:
            self._load(context)
        except Exception as error:
            reason = one_line(error)
            logger.error("LOAD FAILED: %s", reason)
            report(FAILED, reason)
            raise
        self.initialized = True

    def _load(self, context: Context) -> None:
        properties = context.system_properties
        model_dir = Path(properties["model_dir"])
        sums = check_sums(model_dir)
        gpu_id = properties.get("gpu_id")
        on_gpu = torch.cuda.is_available() and gpu_id is not None
        self.device = torch.device(f"cuda:{gpu_id}" if on_gpu else "cpu")
        model_config = context.model_yaml_config or {}
        self.options = handler_options(model_config.get("handler"))
        _share_cores(int(model_config.get("minWorkers", 1)))
        weights = context.manifest["model"]["serializedFile"]
        self.predictor: Engine = self._engine(model_dir / "config.yaml", model_dir / weights)
        names = class_names(self.predictor.config.head.num_classes, model_dir / "classes.txt")
        self.model = Model(context.model_name, names, sums[weights])
        self.metrics = Metrics(context.metrics, MetricTypes, self.model.name)
        limits = self.options.limits
        self.page = try_it_page(self.model.name, limits.max_pixels, limits.max_side, self.options.score_threshold)
        self._warm_up()
        logger.info("ready on %s, with options %s", self.device, self.options)

    def handle(self, data: list[Mapping[str, Any]], context: Context) -> list[bytes]:
        """One answer per request. Unlike BaseHandler's, it takes no orders from request headers ("describe")."""
        self.context = context
        answers: list[bytes] = self.postprocess(self.inference(self.preprocess(data)))
        return answers

    def preprocess(self, data: list[Mapping[str, Any]]) -> list[Job]:
        """
        Args:
            data: per request TorchServe's fields: the body under "body", or a form's, and what the query says.

        Returns:
            Per request its images and options, or what is wrong with it.
        """
        return [self._parsed(index, fields) for index, fields in enumerate(data)]

    def inference(self, jobs: list[Job]) -> list[Job]:
        """The network, for all images of the batch together; one by one where that fails, so that one alone fails."""
        good = [job for job in jobs if job.request]
        try:
            self._detect(good)
            return jobs
        except Exception:
            logger.exception("a batch of %d failed, and is tried again one by one", len(good))
        for job in good:  # outside of the except, as the error's traceback holds the tensors of what failed
            self._detect_alone(job)
        return jobs

    def postprocess(self, jobs: list[Job]) -> list[bytes]:
        """The bytes of each answer; its status and headers go to TorchServe's context."""
        answers: list[bytes] = []
        for index, job in enumerate(jobs):
            # TorchServe's time for all answers of a batch grows with the square of their bytes
            left = self.options.limits.max_response_bytes - sum(map(len, answers))
            answers.append(self._answer(index, job, left))
        self.metrics.count(jobs)
        return answers

    def _detect(self, jobs: list[Job]) -> None:
        items = [item for job in jobs if job.request for item in job.request.items]
        stopwatch = Stopwatch()
        results = iter(self.predictor([item.image for item in items], [self._wanted(i) for i in items], stopwatch))
        for job in jobs:
            assert job.request is not None
            job.founds = [Found(item.image, next(results), self.model) for item in job.request.items]
            job.stopwatch.seconds |= stopwatch.seconds

    def _detect_alone(self, job: Job) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what the failed batch left
        try:
            self._detect([job])
        except Exception as error:
            logger.exception("a request failed")
            job.fail(fault_of(error))

    def _engine(self, config: Path, weights: Path) -> Engine:
        """The engine of the options; what it warns of goes to the launcher, too."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            engine = load_engine(self.options.engine, config, weights, self.device, self.options.precision)
        for warning in caught:
            logger.warning("%s: %s", warning.category.__name__, warning.message)
            if issubclass(warning.category, SlowPrecisionWarning):
                report(SLOW, str(warning.message))
        return engine

    def _warm_up(self) -> None:
        """Finds as many things as there may be on an image of noise, so that the making of masks is warm too.

        Raises:
            NotFiniteError: the network's answer holds infinite numbers or ones that are none.
        """
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        with finite_layers(self.predictor.network):
            self.predictor([noise], PredictionOptions(score_threshold=0.0))

    def _parsed(self, index: int, fields: Mapping[str, Any]) -> Job:
        headers = self.context.get_all_request_header(index)
        job = Job(asks_for_page=asks_for_page(fields, headers))
        if job.asks_for_page:
            return job
        config = self.predictor.config
        usual_masks = config.detection.max_detections if config.head.mask_on else 0
        try:
            with job.stopwatch("decode"):
                job.request = parse_request(fields, headers, self.options.limits, self.model.class_names, usual_masks)
            for item in job.request.items:
                self.predictor.check(item.options.prediction)
        except BadRequest as error:
            job.fail(error)
        except UnsupportedOption as error:
            job.fail(BadRequest(error.error, error.expected, "option"))
        except Exception as error:
            logger.exception("a request could not be read")
            job.fail(fault_of(error))
        return job

    def _wanted(self, item: SegmentationRequest) -> PredictionOptions:
        wanted = item.options.prediction
        if wanted.score_threshold is None:
            return replace(wanted, score_threshold=self.options.score_threshold)
        return wanted

    def _answer(self, index: int, job: Job, left: int) -> bytes:
        """
        Args:
            left: how many bytes it may have beside the batch's other answers.
        """
        if job.asks_for_page:
            self.context.set_response_content_type(index, "text/html; charset=utf-8")
            self.context.set_response_header(index, "Content-Security-Policy", self.page.content_security_policy)
            return self.page.html
        try:
            body, content_type = job.encoded()
            instances = sum(len(found.detections) for found in job.founds)
            limit = self.options.limits.max_response_bytes
            if len(body) > limit:
                raise BadRequest(
                    f"the answer, {instances} masks, has {len(body)} bytes, more than the {limit} allowed",
                    "a smaller image, a higher score_threshold, fewer max_detections or format coco",
                    "answer",
                )
            if len(body) > left:
                raise FullBatchError(len(body))
        except BadRequest as error:
            return self._refusal(index, job, error)
        except Exception as error:
            logger.exception("an answer could not be made")
            return self._refusal(index, job, fault_of(error))
        self._describe(index, job, content_type, instances)
        return body

    def _refusal(self, index: int, job: Job, error: BadRequest) -> bytes:
        job.fail(error)
        self.context.set_response_status(*error.status, index)
        self._describe(index, job, "application/json", 0)
        return error_json(error)

    def _describe(self, index: int, job: Job, content_type: str, instances: int) -> None:
        self.context.set_response_content_type(index, content_type)
        self.context.set_response_header(index, "X-Instance-Count", str(instances))
        self.context.set_response_header(index, "Server-Timing", job.stopwatch.server_timing())


def _share_cores(workers: int) -> None:
    """Gives a worker its part of the cores; all of them together would wait for one another's threads."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // max(1, workers)))
