"""What the server's metrics endpoint shows of this model, beside what TorchServe shows of itself."""

from collections.abc import Iterable
from typing import Any

from tensormask_server.job import Job

PARTS = ("decode", "resize", "network", "masks", "encode")
# by name the unit and the dimensions; the histograms' buckets are TorchServe's, from 0.005 to 10 seconds
HISTOGRAMS = {f"tensormask_{part}_seconds": ("seconds", ("model_name",)) for part in PARTS}
COUNTERS = {
    "tensormask_images_total": ("count", ("model_name",)),
    "tensormask_pixels_total": ("count", ("model_name",)),
    "tensormask_instances_total": ("count", ("model_name",)),
    "tensormask_batches_total": ("count", ("model_name",)),  # that had an image in them
    "tensormask_bad_requests_total": ("count", ("model_name", "reason")),
}


class Metrics:
    """Counts what has been answered, in TorchServe's cache of metrics."""

    def __init__(self, cache: Any, types: Any, model_name: str):
        """
        Args:
            cache: of the worker's context.
            types: TorchServe's MetricTypes.
        """
        self.model_name = model_name
        self.metrics = {
            name: cache.add_metric_to_cache(name, unit, list(dimensions), kind)
            for kind, declared in ((types.HISTOGRAM, HISTOGRAMS), (types.COUNTER, COUNTERS))
            for name, (unit, dimensions) in declared.items()
        }

    def count(self, jobs: Iterable[Job]) -> None:
        """A batch that has been answered."""
        answered = [job for job in jobs if job.error is None and not job.asks_for_page]
        founds = [found for job in answered for found in job.founds]
        for job in answered:
            for part, seconds in job.stopwatch.seconds.items():
                self._add(f"tensormask_{part}_seconds", seconds)
        if founds:
            self._add("tensormask_batches_total", 1)
            self._add("tensormask_images_total", len(founds))
            self._add("tensormask_pixels_total", sum(found.image.shape[0] * found.image.shape[1] for found in founds))
            self._add("tensormask_instances_total", sum(len(found.detections) for found in founds))
        for job in jobs:
            if job.error is not None:
                self._add("tensormask_bad_requests_total", 1, job.error.reason)

    def _add(self, name: str, value: float, *dimensions: str) -> None:
        self.metrics[name].add_or_update(value, [self.model_name, *dimensions])
