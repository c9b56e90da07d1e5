"""The metrics of this model at the server's metrics endpoint. TorchServe adds its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensormask_server.worker.job import Job

PARTS = ("decode", "resize", "network", "masks", "encode")
# from a metric's name to its unit and labels; TorchServe sets the histograms' buckets, from 0.005 to 10 seconds
HISTOGRAMS = {f"tensormask_{part}_seconds": ("seconds", ("model_name",)) for part in PARTS}
COUNTERS = {
    "tensormask_images_total": ("count", ("model_name",)),
    "tensormask_pixels_total": ("count", ("model_name",)),
    "tensormask_instances_total": ("count", ("model_name",)),
    "tensormask_batches_total": ("count", ("model_name",)),  # batches with at least one image
    "tensormask_bad_requests_total": ("count", ("model_name", "reason")),
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
        for part, seconds in job.stopwatch.seconds.items():
            yield Measurement(f"tensormask_{part}_seconds", seconds, (model_name,))
    results = [result for job in successful for result in job.results]
    if results:
        pixels = sum(result.image.shape[0] * result.image.shape[1] for result in results)
        instances = sum(len(result.detections) for result in results)
        yield Measurement("tensormask_batches_total", 1, (model_name,))
        yield Measurement("tensormask_images_total", len(results), (model_name,))
        yield Measurement("tensormask_pixels_total", pixels, (model_name,))
        yield Measurement("tensormask_instances_total", instances, (model_name,))
    for job in jobs:
        if job.failure is not None:
            yield Measurement("tensormask_bad_requests_total", 1, (model_name, job.failure.reason))
