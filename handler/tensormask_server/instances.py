"""Reads the instances from a server's response in the format coco. Needs NumPy only."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensormask_server.compressed_runs import characters_of_runs, decompressed_runs
from tensormask_server.options import Limits

MAX_MASK_PIXELS = Limits.max_mask_pixels  # of all masks of a response: the default of the server
MAX_VALUES = 1_000_000  # of a response's JSON; 1000 instances have 20,000. A value takes up to 200 bytes of memory
MAX_COUNTS = 1 << 24  # characters of a mask's run lengths: enough for 16 million runs of one pixel
MAX_GROUPS = 7  # of 5 bits, of one run length: enough for a mask of 2³⁴ pixels
# A string that doesn't end goes to the body's end. Otherwise each of its escaped quotation marks would be tried again.
STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
TIMING = re.compile(r"\s*([^;=,\s]{1,100});dur=(\d{1,15}(?:\.\d{1,15})?)\s*", re.ASCII)


class ResponseTooLarge(ValueError):
    """A response would take more memory than the limits allow. The message has one line."""


@dataclass(frozen=True)
class Instances:
    """The N instances that a server detected on one image of H×W pixels, best score first."""

    boxes: np.ndarray  # float32 (N, 4): x0 y0 x1 y1 in pixels of the image, rounded to 0.01
    scores: np.ndarray  # float32 (N,): 0…1, in descending order, rounded to six decimals
    category_ids: np.ndarray  # int64 (N,): COCO's ids if the classes are COCO's
    names: tuple[str, ...]  # N class names
    masks: np.ndarray | None  # bool (N, H, W); None if the network has no masks
    width: int
    height: int
    model: str
    weights_sha256: str
    timing: dict[str, float]  # milliseconds by the server's parts: "decode", "resize", "network", …
    notes: tuple[str, ...] = ()  # what the server says of how it decoded the image

    def __len__(self) -> int:
        return len(self.scores)


def read_instances(body: bytes, server_timing: str, max_mask_pixels: int = MAX_MASK_PIXELS) -> Instances:
    """Reads the instances from a response.

    Args:
        body: of a response in the format coco.
        server_timing: the value of the response's header Server-Timing, or "".
        max_mask_pixels: the limit of N·H·W.

    Returns:
        The instances. Boxes are in pixels of the image.

    Raises:
        ResponseTooLarge: N·H·W exceeds the limit, or the JSON has more than MAX_VALUES values. It is raised before
            memory is taken for them.
        ValueError: the body isn't a response in the format coco.
        MemoryError: the memory is too small for the masks.
    """
    _check_values(body)
    try:
        content = json.loads(body, parse_constant=_no_constant)
        height, width = _size(content["height"]), _size(content["width"])
        instances = _of_type(content["instances"], list)
        boxes = np.array([_numbers(each["bbox"], 4) for each in instances], np.float32).reshape(len(instances), 4)
        boxes[:, 2:] += boxes[:, :2]
        return Instances(
            boxes=boxes,
            scores=np.array([_numbers([each["score"]], 1)[0] for each in instances], np.float32),
            category_ids=np.array([_of_type(each["category_id"], int) for each in instances], np.int64),
            names=tuple(_of_type(each["category_name"], str) for each in instances),
            masks=_masks(instances, height, width, max_mask_pixels),
            width=width,
            height=height,
            model=_of_type(content["model"], str),
            weights_sha256=_of_type(content["weights_sha256"], str),
            timing=_timing(server_timing),
            notes=tuple(_of_type(each, str) for each in _of_type(content.get("notes", []), list)),
        )
    except ResponseTooLarge:
        raise
    except RecursionError as error:
        raise ValueError(
            "the body is JSON that is nested too deeply; expected a response in the format coco"
        ) from error
    except KeyError as error:
        raise ValueError(f"the body has no {error.args[0]!r}; expected a response in the format coco") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the body isn't a response in the format coco: {error}") from error


def decode_mask(counts: str, height: int, width: int) -> np.ndarray:
    """Decodes COCO's compressed run lengths to a mask, as pycocotools does.

    Args:
        counts: of an instance's "segmentation".
        height, width: of the image, in pixels.

    Returns:
        bool (height, width).

    Raises:
        ResponseTooLarge: the mask has more than MAX_MASK_PIXELS pixels, or counts has more than MAX_COUNTS characters.
        ValueError: counts isn't a mask of this size.
    """
    pixels = int(height) * int(width)
    if pixels > MAX_MASK_PIXELS or len(counts) > MAX_COUNTS:
        raise ResponseTooLarge(
            f"a mask of {height}×{width} pixels in {len(counts)} characters; expected at most {MAX_MASK_PIXELS} pixels "
            f"in at most {MAX_COUNTS} characters"
        )
    text = np.frombuffer(counts.encode("ascii"), np.uint8)
    if len(text) == 0 or text.min() < 48 or text.max() > 48 + 63 or text[-1] >= 48 + 32 or min(height, width) < 0:
        raise ValueError(f"counts is {counts[:20]!r}; expected COCO's compressed run lengths")
    codes = text.astype(np.int64) - 48
    characters = characters_of_runs(codes)
    if characters.max() > MAX_GROUPS:
        raise ValueError(f"counts has a run length of more than {MAX_GROUPS} characters; expected fewer")
    runs = decompressed_runs(codes, characters)  # without overflow: 2²⁴ runs of 2³⁴ pixels are 2⁵⁸
    # the sum is last, because it can't overflow once the maximum is checked
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError(f"the run lengths don't add up; expected {pixels} pixels, {height}×{width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _masks(instances: list[dict[str, Any]], height: int, width: int, max_mask_pixels: int) -> np.ndarray | None:
    if any("segmentation" not in each for each in instances):
        return None
    if len(instances) * height * width > max_mask_pixels:
        raise ResponseTooLarge(
            f"{len(instances)} masks of {height}×{width} pixels; expected at most {max_mask_pixels} pixels together"
        )
    for each in instances:
        if each["segmentation"]["size"] != [height, width]:
            raise ValueError(
                f"a mask has the size {each['segmentation']['size']}; expected the image's, [{height}, {width}]"
            )
        _of_type(each["segmentation"]["counts"], str)
    masks = np.empty((len(instances), height, width), bool)
    for mask, each in zip(masks, instances, strict=True):
        mask[:] = decode_mask(each["segmentation"]["counts"], height, width)
    return masks


def _check_values(body: bytes) -> None:
    """Counts the values of JSON before it is parsed, because parsing takes up to 60 times its size in memory."""
    values = body.count(b'"') // 2  # strings are counted first, because removing too many of them would take long
    if values <= MAX_VALUES:
        outside = STRING.sub(b"", body)
        values = sum(outside.count(mark) for mark in (b",", b"[", b"{"))
    if values > MAX_VALUES:
        raise ResponseTooLarge(f"JSON of about {values} values; expected at most {MAX_VALUES}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} instead of a finite number")


def _of_type(value: Any, expected: type) -> Any:
    if type(value) is not expected:
        raise TypeError(f"{type(value).__name__} instead of {expected.__name__}")
    return value


def _size(value: Any) -> int:
    if _of_type(value, int) < 1:
        raise ValueError(f"a side of the image is {value} pixels; expected 1 or more")
    return int(value)


def _numbers(values: Any, count: int) -> list[float]:
    """Checks a list of numbers: each is finite in float32, too. Python reads JSON's 1e400 as infinity."""
    if not isinstance(values, list) or len(values) != count:
        raise TypeError(f"{type(values).__name__} instead of {count} numbers")
    if not all(type(each) in (int, float) and math.isfinite(each) and abs(each) < 1e38 for each in values):
        raise ValueError(f"a list with other values than {count} finite numbers")
    return values


def _timing(header: str) -> dict[str, float]:
    """Milliseconds by part, from "part;dur=milliseconds, …". Other entries come from proxies and are ignored."""
    parts = filter(None, map(TIMING.fullmatch, header.split(",")))
    return {part[1]: float(part[2]) for part in parts}
