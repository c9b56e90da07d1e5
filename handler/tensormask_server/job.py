"""One HTTP request on its way from its bytes to its answer's."""

import traceback
from dataclasses import dataclass, field

from tensormask_server.bad_request import BadRequest
from tensormask_server.requests.parsing import Request
from tensormask_server.responses import Found, encode, inference_outputs, predictions
from tensormask_server.timing import Stopwatch


@dataclass
class Job:
    """What is known of a request so far."""

    request: Request | None = None
    founds: list[Found] = field(default_factory=list)  # one per image
    error: BadRequest | None = None  # why there is no request, or no answer
    asks_for_page: bool = False
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def fail(self, error: BadRequest) -> None:
        """There will be no answer but this.

        The error's traceback and causes go: their frames hold this job and the request's bytes, some the errors, too,
        and in such a circle all of it would stay in memory until Python looks for circles, gigabytes later.
        """
        self.request = None
        self.error = error
        led_to: BaseException | None = error
        while led_to is not None:
            traceback.clear_frames(led_to.__traceback__)
            earlier = led_to.__cause__ or led_to.__context__
            led_to.__traceback__ = led_to.__cause__ = led_to.__context__ = None
            led_to = earlier

    def encoded(self) -> tuple[bytes, str]:
        """The answer's bytes and content type.

        Raises:
            BadRequest: there is no request, or it can't be answered in the format that it asks for.
        """
        if self.request is None:
            assert self.error is not None
            raise self.error
        kinds = [item.format for item in self.request.items]
        with self.stopwatch("encode"):
            if self.request.protocol == "v1":
                return predictions(self.founds, kinds), "application/json"
            if self.request.protocol == "v2":
                return inference_outputs(self.founds, kinds, self.request.id), "application/json"
            return encode(self.founds[0], kinds[0])
