"""One HTTP request in the worker, on its way to its response."""

from dataclasses import dataclass, field

from tensormask_server.bad_request import BadRequest
from tensormask_server.requests.parsing import Request
from tensormask_server.responses.result import Result
from tensormask_server.timing import Stopwatch


@dataclass(frozen=True)
class Failure:
    """Why a request gets no result. These are facts, not the exception: its traceback would keep the request alive."""

    status: int  # HTTP's
    error: str  # what was found
    expected: str  # what would be accepted
    reason: str  # for the metrics, as in `BadRequest`

    @classmethod
    def of(cls, error: BadRequest) -> "Failure":
        return cls(error.status[0], error.error, error.expected, error.reason)


@dataclass
class Job:
    """What is known of a request so far. It has a request, or a failure, or it asks for the page."""

    request: Request | None = None
    results: list[Result] = field(default_factory=list)  # one for each image of the request, in its order
    failure: Failure | None = None
    asks_for_page: bool = False
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def fail(self, error: BadRequest) -> None:
        """Only this failure is left of the request; its images and results are freed."""
        self.request = None
        self.results = []
        self.failure = Failure.of(error)
