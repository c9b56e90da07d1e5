"""The options of a server: the `handler:` section of an archive's model-config.yaml."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from tensormask_server.printable import is_one_line, printable, quoted
from tensormask_server.spelling import did_you_mean, did_you_mean_fraction
from tensormask_server.tile_options import DEFAULT_OVERLAP, check_tile_options

ENGINES = ("native", "detectron2", "openvino")  # our own network, detectron2's, and ours with OpenVINO's convolutions
DEVICES = ("auto", "cpu", "cuda")  # auto: a GPU where there is one
GPU_BATCH_SIZE = 8  # images that a GPU runs together
PRECISIONS = ("float32", "bfloat16", "float16")  # of the convolutions, by torch's names
ENGINE_PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "native": PRECISIONS,
    "detectron2": ("float32",),
    "openvino": ("float32", "bfloat16", "int8"),
}
ALL_PRECISIONS = (*PRECISIONS, "int8")

LONGEST_ABOUT = 300  # characters
MOST_PIXELS = 1 << 31  # H·W; a mask's run lengths have 32 bits


class OptionError(ValueError):
    """An unknown option, or a value that can't be used. The message says what is accepted."""


@dataclass(frozen=True)
class Limits:
    """The largest requests and responses. Each value is a whole number, 1 or more; `largest_image` may be 0."""

    max_pixels: int = 16_777_216  # H·W of the largest image; a phone's image of 12 megapixels is smaller
    max_side: int = 16_384  # pixels of an image's longer side
    max_images: int = 8  # of one request; at the published size each takes seconds on a CPU
    max_tiles: int = 128  # of all images of a request together; each takes as long as a small image
    # H·W of the largest image that is read in parts. What is above max_pixels is never one array. 0: nothing is
    largest_image: int = 0
    max_request_pixels: int = 33_554_432  # H·W of all images of a request together
    # masks × H·W of all images of a request together: 100 masks of the largest image. In the formats torch and npz
    # each of these pixels takes a byte.
    max_mask_pixels: int = 1_677_721_600
    max_response_bytes: int = 60_000_000  # of all responses of a batch; below max_response_size of config.properties

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == "largest_image" else 1
            if not _is(value, int) or value < least:
                raise OptionError(f"{name} is {quoted(value)}; expected a whole number, {least} or more")
        if self.largest_image > MOST_PIXELS:
            raise OptionError(f"largest_image is {self.largest_image}; expected {MOST_PIXELS} or less")
        if self.max_request_pixels < self.max_pixels:
            raise OptionError(
                f"max_request_pixels is {self.max_request_pixels}; expected max_pixels, {self.max_pixels}, or more"
            )

    @classmethod
    def of_single_images(cls, max_pixels: int, max_side: int) -> Self:
        """The limits of images that are read one by one, and not in requests."""
        return cls(max_pixels=max_pixels, max_side=max_side, max_request_pixels=max_pixels)


@dataclass(frozen=True)
class HandlerOptions:
    """The options of a server. A request can replace the score threshold and the options of tiles."""

    about: str = ""  # ends the page's sentence "This network knows …"; one line of at most LONGEST_ABOUT characters
    score_threshold: float = 0.5  # 0…1: a detection's score must be above it. The default of requests and of bulk
    engine: str = "native"  # one of ENGINES
    device: str = "auto"  # where the network runs: one of DEVICES
    precision: str = "float32"  # of the convolutions: one of the engine's ENGINE_PRECISIONS
    limits: Limits = field(default_factory=Limits)
    # the defaults of requests, as in `PredictionOptions`
    tile_size: int | str | None = None
    tile_overlap: float = DEFAULT_OVERLAP
    tile_whole: bool = True

    def __post_init__(self) -> None:
        if not _is(self.about, str) or len(self.about) > LONGEST_ABOUT or not is_one_line(self.about):
            expected = f"expected one line of at most {LONGEST_ABOUT} characters"
            raise OptionError(f"about is {quoted(self.about)}; {expected}")
        threshold = self.score_threshold
        if not _is(threshold, int, float) or not 0 <= threshold <= 1:
            hint = did_you_mean_fraction(threshold)
            raise OptionError(f"score_threshold is {quoted(threshold)}{hint}; expected a number from 0 to 1")
        try:
            check_tile_options(self.tile_size, self.tile_overlap, self.tile_whole)
        except ValueError as error:
            raise OptionError(str(error)) from error
        if self.engine not in ENGINES:
            raise OptionError(f"engine is {quoted(self.engine)}; expected one of {', '.join(ENGINES)}")
        if self.device not in DEVICES:
            raise OptionError(f"device is {quoted(self.device)}; expected one of {', '.join(DEVICES)}")
        precisions = ENGINE_PRECISIONS[self.engine]
        if self.precision not in precisions:
            expected = precisions[0] if len(precisions) == 1 else f"one of {', '.join(precisions)}"
            others = [engine for engine in ENGINES if self.precision in ENGINE_PRECISIONS[engine]]
            instead = f", or the engine {' or '.join(others)}" if others else ""
            raise OptionError(
                f"precision is {quoted(self.precision)}; expected {expected} with the engine {self.engine}{instead}"
            )
        if self.engine == "openvino" and self.device == "cuda":
            raise OptionError("device is 'cuda'; expected cpu with the engine openvino")
        if self.engine == "detectron2" and self.limits.largest_image:
            raise OptionError(
                f"largest_image is {self.limits.largest_image}; expected 0 with the engine detectron2, "
                "whose masks are as large as the image"
            )

    def section(self) -> dict[str, Any]:
        """The `handler:` section for these options, with the limits in the same mapping."""
        options = asdict(self)
        limits = options.pop("limits")
        return {**options, **limits}


LIMIT_NAMES = tuple(each.name for each in fields(Limits))
OPTION_NAMES = (*(each.name for each in fields(HandlerOptions) if each.name != "limits"), *LIMIT_NAMES)


def handler_options(section: Mapping[str, Any] | None) -> HandlerOptions:
    """Reads the `handler:` section of a model-config.yaml.

    Args:
        section: the options by their names, which are OPTION_NAMES. Absent options have their defaults.

    Raises:
        OptionError: an option is unknown, or its value can't be used.
    """
    if section is None:
        return HandlerOptions()
    if not isinstance(section, Mapping):
        raise OptionError(f"handler is {quoted(section)}; expected a mapping of options")
    for name in section:
        if name not in OPTION_NAMES:
            raise OptionError(
                f"handler.{printable(name)} is not a known option{did_you_mean(name, OPTION_NAMES)}; "
                f"known: {', '.join(OPTION_NAMES)}"
            )
    limits = {name: value for name, value in section.items() if name in LIMIT_NAMES}
    others = {name: value for name, value in section.items() if name not in LIMIT_NAMES}
    return HandlerOptions(**others, limits=Limits(**limits))


def _is(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)
