"""The handler's options: the defaults, and an error for each wrong option."""

from typing import Any

import pytest
from tensormask_server.options import OPTION_NAMES, HandlerOptions, Limits, OptionError, handler_options


def test_no_section_is_the_defaults() -> None:
    assert handler_options(None) == handler_options({}) == HandlerOptions()
    assert HandlerOptions().score_threshold == 0.5


def test_given_options_are_taken() -> None:
    assert handler_options({"score_threshold": 1, "precision": "bfloat16"}).precision == "bfloat16"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"score_treshold": 0.5}, "did you mean score_threshold"),
        ({"score_threshold": 1.5}, "score_threshold is 1.5; expected a number from 0 to 1"),
        ({"score_threshold": True}, "score_threshold is True"),
        ({"about": "x" * 301}, "expected one line of at most 300 characters"),
        ({"about": "two\nlines"}, "expected one line"),
        ({"about": 5}, "about is 5"),
        ({"score_threshold": float("nan")}, "score_threshold is nan"),
        ({"precision": "int8"}, "bfloat16, float16 with the engine native, or the engine openvino$"),
        ({"precision": "float8"}, "bfloat16, float16 with the engine native$"),
        ({"engine": "caffe2"}, "engine is 'caffe2'; expected one of native, detectron2"),
        (
            {"engine": "detectron2", "precision": "float16"},
            "expected float32 with the engine detectron2, or the engine native$",
        ),
        ({"engine": "openvino", "precision": "float16"}, "expected one of float32, bfloat16, int8 with the engine"),
        ({"engine": "openvino", "device": "cuda"}, "device is 'cuda'; expected cpu with the engine openvino"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"max_images": 2.0}, "max_images is 2.0"),
        ({"max_mask_pixels": True}, "max_mask_pixels is True"),
        ({"max_pixels": 7, "max_request_pixels": 6}, "max_request_pixels is 6; expected max_pixels, 7, or more"),
        ({"max_response_bytes": "1 MB"}, "max_response_bytes is '1 MB'"),
        ({"tile_size": 8}, "tile_size is 8; expected auto, or a whole number of pixels, 32 or more"),
        ({"tile_overlap": 1}, "tile_overlap is 1; expected a number from 0 to 0.9"),
        ({"max_tiles": 0}, "max_tiles is 0"),
        ({"largest_image": -1}, "largest_image is -1; expected a whole number, 0 or more"),
        ({"largest_image": 1 << 32}, "largest_image is 4294967296; expected 2147483648 or less"),
        ({"largest_image": 9, "engine": "detectron2"}, "largest_image is 9; expected 0 with the engine detectron2"),
        (["score_threshold"], "expected a mapping"),
    ],
)
def test_a_wrong_option_is_an_error(section: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        handler_options(section)


def test_a_section_is_read_back_as_the_options_that_wrote_it() -> None:
    options = HandlerOptions(score_threshold=0.25, limits=Limits(max_images=3), tile_size=384, tile_whole=False)
    section = options.section()
    assert (section["score_threshold"], section["max_images"]) == (0.25, 3)
    assert tuple(section) == OPTION_NAMES
    assert handler_options(section) == options


def test_single_images_have_no_limit_of_requests_below_their_own() -> None:
    limits = Limits.of_single_images(max_pixels=10**9, max_side=10**5)
    assert (limits.max_pixels, limits.max_side) == (10**9, 10**5)
