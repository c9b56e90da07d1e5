"""What the server's configuration decides about reading a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensormask_server.options import Limits
from tensormask_server.prediction.detections import DEFAULT_OPTIONS, PredictionOptions
from tensormask_server.requests.options import RequestedOptions, parse_options


@dataclass(frozen=True)
class Reading:
    """The limits, class names and defaults with which a request is read."""

    limits: Limits
    class_names: Sequence[str]  # the network's, by class number
    defaults: PredictionOptions = DEFAULT_OPTIONS  # the values of options that the request doesn't have

    def options(self, requested_options: Mapping[str, Any], default_format: str = "coco") -> RequestedOptions:
        """Checks the options that are requested for an image.

        Args:
            requested_options: as for `parse_options`.
            default_format: the format if the request doesn't name one; one of FORMATS.

        Returns:
            The options, by who needs them.

        Raises:
            BadRequest: an option is unknown, or its value can't be used.
        """
        return parse_options(requested_options, self.class_names, self.defaults, default_format)
