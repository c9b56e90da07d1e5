"""The service of one model: from a batch of HTTP requests to their responses. It depends on no web server."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch

from tensormask_server.bad_request import BadRequest, FullBatchError, TooSlowError, clear_frames, fault_of
from tensormask_server.formats import JSON, MODEL_DESCRIPTION
from tensormask_server.images.errors import ImageError
from tensormask_server.images.large import LargeImage
from tensormask_server.options import HandlerOptions
from tensormask_server.prediction.detections import PredictionOptions, UnsupportedOption
from tensormask_server.prediction.engine import Engine
from tensormask_server.prediction.image_masks import LargeMasksError
from tensormask_server.prediction.inputs import unreduced_side
from tensormask_server.prediction.tile_grid import number_of_tiles
from tensormask_server.request_ids import HEADER, request_id
from tensormask_server.request_log import RequestLog
from tensormask_server.requests.form_fields import size_of
from tensormask_server.requests.headers import header
from tensormask_server.requests.parsing import RequestedImage, parse_request
from tensormask_server.responses.encoding import error_json, json_bytes
from tensormask_server.responses.protocols import Content
from tensormask_server.responses.result import Model, Result
from tensormask_server.timing import Stopwatch, TimeLimitError
from tensormask_server.worker.decoding_threads import in_threads
from tensormask_server.worker.description import is_for_description, model_description
from tensormask_server.worker.job import Job
from tensormask_server.worker.metrics import Measurement, measurements
from tensormask_server.worker.page import Page, is_for_page
from tensormask_server.worker.request_records import request_record

logger = logging.getLogger(__name__)

CUTOUTS = "cutouts"  # the only format that needs the pixels of a large image


class RawRequest(NamedTuple):
    """What a web server knows of an HTTP request."""

    # the body under "body", or a form's fields, with the query's parameters beside them; a name that stands there
    # several times has the list of its values
    fields: Mapping[str, Any]
    headers: Mapping[str, str]
    id: str = ""  # the web server's own for this request, if it has one


@dataclass(frozen=True)
class Response:
    """One HTTP response."""

    status: int  # of HTTP
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Service:
    """Makes the response to each request of a batch. A bad request gets an error, and the others get their results."""

    engine: Engine
    model: Model
    options: HandlerOptions
    page: Page
    record: Callable[[Measurement], None]  # is called with each measurement of a batch
    request_log: RequestLog | None = None
    tile_seconds: float = math.inf  # the most that the images in tiles of a batch may take

    def respond(self, requests: Sequence[RawRequest]) -> list[Response]:
        """Makes the responses to a batch of requests. A request never makes it raise an exception.

        Returns:
            One response for each request, in order.
        """
        jobs = in_threads(self._decoded, requests, torch.get_num_threads())  # which the worker may use
        self._predict([job for job in jobs if job.request])
        responses: list[Response] = []
        for job in jobs:
            # TorchServe's time for all responses of a batch grows with the square of their bytes
            room = self.options.limits.max_response_bytes - sum(len(response.body) for response in responses)
            responses.append(self._encoded(job, room))
        for measurement in measurements(jobs, self.model.name):
            self.record(measurement)
        if self.request_log is not None:
            now = datetime.now(UTC)
            for job, response in zip(jobs, responses, strict=True):
                record = request_record(job, self.model.name, response.status, len(response.body), now)
                self.request_log.append(record)
        return responses

    def _decoded(self, raw: RawRequest) -> Job:
        fields, headers, id = raw
        job = Job(request_id(header(headers, HEADER), id), size_of(fields), is_for_page=is_for_page(fields, headers))
        job.is_for_description = is_for_description(fields, headers)
        if job.is_for_page or job.is_for_description:
            return job
        config = self.engine.config
        max_masks = config.detection.max_detections if config.head.mask_on else 0
        defaults = PredictionOptions(
            score_threshold=self.options.score_threshold,
            tile_size=self.options.tile_size,
            tile_overlap=self.options.tile_overlap,
            tile_whole=self.options.tile_whole,
        )
        auto_tile_size = unreduced_side(config.input)
        try:
            with job.stopwatch("decode"):
                job.request = parse_request(
                    fields, headers, self.options.limits, self.model.class_names, max_masks, defaults, auto_tile_size
                )
            for item in job.request.items:
                self.engine.check(item.options)
                self._check_whole(item)
        except BadRequest as error:
            job.fail(error)
            clear_frames(error)
        except UnsupportedOption as error:
            job.fail(BadRequest(error.error, error.expected, "option"))
        except Exception as error:
            logger.exception("a request could not be read")
            job.fail(fault_of(error))
            clear_frames(error)
        return job

    def _check_whole(self, item: RequestedImage) -> None:
        """
        Raises:
            BadRequest: the network would see a whole image that is large and isn't reduced.
        """
        is_unreduced = self.engine.config.input.min_size == 0
        is_whole = item.options.tile_size is None or item.options.tile_whole
        if isinstance(item.image, LargeImage) and is_whole and is_unreduced:
            raise BadRequest(
                "the network would see the whole image, and this network doesn't reduce images",
                f"a tile_size, and tile_whole of false, for an image of more than {self.options.limits.max_pixels} "
                "pixels",
                "option",
            )

    def _predict(self, jobs: Sequence[Job]) -> None:
        """Runs the network on all images together.

        If that fails, it runs the network once for each request, so that only the bad request fails.
        """
        try:
            self._detect(jobs)
            return
        except TimeLimitError as error:  # tried again, they would take as long
            for job in filter(self._has_tiles, jobs):
                job.fail(TooSlowError(error.limit))
        except Exception:
            logger.exception("a batch of %d requests failed; each request is tried by itself", len(jobs))
        for job in jobs:  # not in the except block, where the error's traceback holds the tensors of the batch
            if job.request:
                self._detect_one(job)

    def _has_tiles(self, job: Job) -> bool:
        auto_size = unreduced_side(self.engine.config.input)
        items = job.request.items if job.request else []
        return any(
            number_of_tiles(each.image.shape[0], each.image.shape[1], each.options, auto_size) > 0 for each in items
        )

    def _detect(self, jobs: Sequence[Job]) -> None:
        items = [item for job in jobs if job.request for item in job.request.items]
        stopwatch = Stopwatch(limit=self.tile_seconds)
        images, options = [item.image for item in items], [item.options for item in items]
        detections = iter(self.engine(images, options, stopwatch))
        for job in jobs:
            assert job.request is not None
            limit = self.options.limits.max_response_bytes
            job.results = [
                Result(item.image, next(detections), self.model, item.response, item.notes, limit)
                for item in job.request.items
            ]
            for item in job.request.items:
                if isinstance(item.image, LargeImage) and item.response.format != CUTOUTS:
                    item.image.release()
            job.stopwatch.seconds |= stopwatch.seconds

    def _detect_one(self, job: Job) -> None:
        torch.cuda.empty_cache()  # frees what the failed batch left; without CUDA it does nothing
        try:
            self._detect([job])
        except TimeLimitError as error:
            job.fail(TooSlowError(error.limit))
        except ImageError as error:  # a part of a large image that is read only now
            job.fail(BadRequest(error.found, error.expected or "an image that isn't damaged", "image"))
        except LargeMasksError as error:
            job.fail(BadRequest(error.found, error.expected, "pixels"))
        except Exception as error:
            logger.exception("a request failed")
            job.fail(fault_of(error))

    def _encoded(self, job: Job, room: int) -> Response:
        """Makes the response to one job.

        Args:
            room: bytes that the batch's other responses leave for this one.
        """
        if job.is_for_page:
            policy = {"Content-Security-Policy": self.page.content_security_policy}
            headers = {"Content-Type": "text/html; charset=utf-8", HEADER: job.id, **policy}
            return Response(200, headers, self.page.html)
        if job.is_for_description:
            description = model_description(self.model, self.options, self.engine.config)
            return Response(200, {"Content-Type": MODEL_DESCRIPTION, HEADER: job.id}, json_bytes(description))
        if job.request is not None:
            try:
                content = self._content(job, room)
                return self._response(job, 200, content, sum(len(result.detections) for result in job.results))
            except BadRequest as error:
                job.fail(error)
            except Exception as error:
                logger.exception("a response could not be made")
                job.fail(fault_of(error))
        assert job.failure is not None
        return self._response(
            job, job.failure.status, Content(JSON, error_json(job.failure.error, job.failure.expected)), 0
        )

    def _content(self, job: Job, room: int) -> Content:
        """Encodes a job's results.

        Raises:
            BadRequest: the response is too large, or it can't be made in the requested format.
        """
        assert job.request is not None
        with job.stopwatch("encode"):
            content = job.request.protocol.response(job.results)
        size, limit = len(content.body), self.options.limits.max_response_bytes
        if size > limit:
            masks = sum(len(result.detections) for result in job.results)
            raise BadRequest(
                f"the response, with {masks} masks, has {size} bytes, more than the {limit} allowed",
                "a smaller image, a higher score_threshold, fewer max_detections or format coco",
                "response",
            )
        if size > room:
            raise FullBatchError(size)
        return content

    def _response(self, job: Job, status: int, content: Content, instances: int) -> Response:
        headers = {
            "Content-Type": content.media_type,
            **content.headers,
            HEADER: job.id,
            "X-Instance-Count": str(instances),
            "Server-Timing": job.stopwatch.server_timing(),
        }
        if len(job.results) == 1 and job.results[0].notes:
            headers["X-Image-Note"] = "; ".join(job.results[0].notes)
        return Response(status, headers, content.body)
