"""The response to the first sample image, made while the model loads: the page shows it to who has sent no image."""

import logging
from dataclasses import replace

from tensormask_server.sample_images import Sample
from tensormask_server.worker.page.description import lowest_score
from tensormask_server.worker.service import RawRequest, Service

logger = logging.getLogger(__name__)


def first_answer(service: Service, sample: Sample) -> bytes | None:
    """Answers a sample as a request of the page would be. It is neither measured nor logged as a request.

    Returns:
        The response's body in the format coco. None: the server refuses such an image. The log says why.
    """
    quiet = replace(service, record=lambda _: None, request_log=None)
    headers = {"Score-Threshold": str(lowest_score(service.options))}
    [response] = quiet.respond([RawRequest({"body": sample.content}, headers)])
    if response.status != 200:
        logger.warning("the page shows no answer to the sample %s: %s", sample.name, response.body.decode()[:500])
        return None
    return response.body
