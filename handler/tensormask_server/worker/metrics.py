"""The metrics of this model at the server's metrics endpoint. TorchServe adds its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensormask_server.worker.job import Job

PARTS = ("decode", "resize", "network", "masks", "encode")  # of the stopwatch
IMAGES = "tensormask_images_total"
PIXELS = "tensormask_pixels_total"
INSTANCES = "tensormask_instances_total"
BATCHES = "tensormask_batches_total"  # with at least one image
BAD_REQUESTS = "tensormask_bad_requests_total"
HISTOGRAM_OF = {part: f"tensormask_{part}_seconds" for part in PARTS}
# from a metric's name to its unit and labels; TorchServe sets the histograms' buckets, from 0.005 to 10 seconds
HISTOGRAMS = dict.fromkeys(HISTOGRAM_OF.values(), ("seconds", ("model_name",)))
COUNTERS = {
    IMAGES: ("count", ("model_name",)),
    PIXELS: ("count", ("model_name",)),
    INSTANCES: ("count", ("model_name",)),
    BATCHES: ("count", ("model_name",)),
    BAD_REQUESTS: ("count", ("model_name", "reason")),
}


@dataclass(frozen=True)
class Measurement:
    """A value for one metric: a histogram observes it, and a counter adds it."""

    name: str
    value: float
    labels: tuple[str, ...]  # the values of the metric's labels


def measurements(jobs: Sequence[Job], model_name: str) -> Iterator[Measurement]:
    """The measurements of one batch.

    Args:
        jobs: all jobs of the batch, after their responses were made.
        model_name: the value of the label.
    """
    successful = [job for job in jobs if job.failure is None and not job.is_for_page]
    for job in successful:
        for part, name in HISTOGRAM_OF.items():
            if part in job.stopwatch.seconds:
                yield Measurement(name, job.stopwatch.seconds[part], (model_name,))
    results = [result for job in successful for result in job.results]
    if results:
        pixels = sum(result.image.shape[0] * result.image.shape[1] for result in results)
        instances = sum(len(result.detections) for result in results)
        yield Measurement(BATCHES, 1, (model_name,))
        yield Measurement(IMAGES, len(results), (model_name,))
        yield Measurement(PIXELS, pixels, (model_name,))
        yield Measurement(INSTANCES, instances, (model_name,))
    for job in jobs:
        if job.failure is not None:
            yield Measurement(BAD_REQUESTS, 1, (model_name, job.failure.reason))
