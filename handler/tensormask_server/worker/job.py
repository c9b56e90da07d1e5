"""One HTTP request in the worker, on its way to its response."""

from dataclasses import dataclass, field

from tensormask_server.bad_request import BadRequest
from tensormask_server.requests.parsing import Request
from tensormask_server.responses.result import Result
from tensormask_server.timing import Stopwatch


@dataclass(frozen=True)
class Failure:
    """Why a request gets no results. It isn't the exception, whose traceback would keep the request in memory."""

    status: int  # of HTTP
    error: str  # what was found
    expected: str  # what would be accepted
    reason: str  # for the metrics, as in `BadRequest`

    @classmethod
    def of(cls, error: BadRequest) -> "Failure":
        return cls(error.status, error.error, error.expected, error.reason)


@dataclass
class Job:
    """What is known of a request so far: the parsed request, its failure, or that it asks for something else."""

    id: str = ""  # of the request
    bytes_in: int = 0  # of the request's body, or of its fields
    request: Request | None = None
    results: list[Result] = field(default_factory=list)  # one for each image of the request, in its order
    failure: Failure | None = None
    is_for_page: bool = False
    is_for_description: bool = False  # of the model
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def fail(self, error: BadRequest) -> None:
        """Notes the failure, and frees the request's images and results."""
        self.request = None
        self.results = []
        self.failure = Failure.of(error)
