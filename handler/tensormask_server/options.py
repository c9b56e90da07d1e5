"""The `handler:` section of an archive's model-config.yaml, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tensormask_server.engine import ENGINES
from tensormask_server.predictor import PRECISIONS
from tensormask_server.printable import printable, quoted
from tensormask_server.spelling import did_you_mean


class OptionError(ValueError):
    """An option that isn't known, or whose value can't be used. The message names both and what would be accepted."""


@dataclass(frozen=True)
class HandlerOptions:
    """How a server answers; what a request may change itself is only the default here."""

    score_threshold: float = 0.5  # things with scores strictly above it are found
    engine: str = "native"  # what finds them: our own network, or detectron2's
    precision: str = "float32"  # of the convolutions: float32, bfloat16 or float16
    max_pixels: int = 16_777_216  # H·W of the largest image: more than a phone's, of 12 megapixels
    max_side: int = 16_384  # pixels of its longer side
    max_images: int = 8  # of one request; at the published size each takes 0.3 GB, and seconds of a CPU
    max_request_pixels: int = 33_554_432  # H·W of all its images together
    # masks × H·W, over all its images: 100 masks of the largest one. A byte each in the formats torch and npz.
    max_mask_pixels: int = 1_677_721_600
    max_response_bytes: int = 60_000_000  # of a batch's answers; stays below max_response_size of config.properties

    def __post_init__(self) -> None:
        threshold = self.score_threshold
        if not _is(threshold, int, float) or not 0 <= threshold <= 1:
            raise OptionError(f"score_threshold is {quoted(threshold)}; expected a number from 0 to 1")
        if self.engine not in ENGINES:
            raise OptionError(f"engine is {quoted(self.engine)}; expected one of {', '.join(ENGINES)}")
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision is {quoted(self.precision)}; expected one of {', '.join(PRECISIONS)}")
        if self.engine == "detectron2" and self.precision != "float32":
            raise OptionError(f"precision is {self.precision!r}; expected float32 with the engine detectron2")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") and (not _is(value, int) or value < 1):
                raise OptionError(f"{field.name} is {quoted(value)}; expected a whole number, 1 or more")
        if self.max_request_pixels < self.max_pixels:
            raise OptionError(
                f"max_request_pixels is {self.max_request_pixels}; expected max_pixels, {self.max_pixels}, or more"
            )


def handler_options(section: Mapping[str, Any] | None) -> HandlerOptions:
    """
    Raises:
        OptionError: an option isn't known, or has a value that can't be used.
    """
    if section is not None and not isinstance(section, Mapping):
        raise OptionError(f"handler is {quoted(section)}; expected a mapping of options")
    names = [field.name for field in fields(HandlerOptions)]
    for name in section or {}:
        if name not in names:
            raise OptionError(
                f"handler.{printable(name)} is not a known option{did_you_mean(name, names)}; known: {', '.join(names)}"
            )
    return HandlerOptions(**(section or {}))


def _is(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)
