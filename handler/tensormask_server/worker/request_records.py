"""One record for each request: what came, what became of it, and how long it took. The log of requests holds them."""

from datetime import UTC, datetime
from typing import Any

from tensormask_server.printable import one_line
from tensormask_server.worker.job import Job

LONGEST_ERROR = 300  # bytes


def request_record(job: Job, model_name: str, status: int, size: int, now: datetime) -> dict[str, Any]:
    """Makes the record of a request.

    Args:
        job: after its response was made.
        model_name: the model's, as in its URL.
        status: of HTTP.
        size: bytes of the response's body.
        now: the time of the record.

    Returns:
        Values that JSON can hold. All texts are bounded and on one line.
    """
    formats = {item.response.format for item in job.request.items} if job.request else set()
    return {
        "time": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "id": job.id,
        "model": model_name,
        "status": status,
        "error": one_line(job.failure.error, LONGEST_ERROR) if job.failure else None,
        "reason": job.failure.reason if job.failure else None,
        "images": len(job.results),
        "instances": sum(len(result.detections) for result in job.results),
        "format": ",".join(sorted(formats)) or None,
        "milliseconds": {part: round(1000 * seconds, 1) for part, seconds in job.stopwatch.seconds.items()},
        "bytes_in": job.bytes_in,
        "bytes_out": size,
    }
