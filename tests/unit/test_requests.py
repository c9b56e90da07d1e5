"""JSON requests: every good one to the same picture as the standard library gives, every bad one to a BadRequest."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tensormask_server.requests import BadRequest, parse_request

MANY = 1 << 20

pictures = st.tuples(st.integers(1, 7), st.integers(1, 9)).flatmap(lambda size: arrays(np.uint8, (3, *size)))
layouts = st.sampled_from([None, 1, "\t"])


@given(picture=pictures, indent=layouts, threshold=st.none() | st.floats(0, 1))
def test_any_layout_of_json_gives_the_picture(picture: np.ndarray, indent: Any, threshold: float | None) -> None:
    body = json.dumps({"threshold": threshold, "img_data": picture.tolist()}, indent=indent).encode()
    request = parse_request(body, MANY)
    np.testing.assert_array_equal(request.picture, picture.transpose(1, 2, 0))
    assert request.picture.dtype == np.uint8
    assert request.picture.flags.c_contiguous
    assert request.score_threshold == threshold


@pytest.mark.parametrize("body", [bytes, bytearray, bytes.decode, json.loads])
def test_a_body_may_come_decoded(body: Any) -> None:
    request = parse_request(body(b'{"img_data": [[[1]], [[2]], [[3]]]}'), MANY)
    np.testing.assert_array_equal(request.picture, [[[1, 2, 3]]])


def test_bgr_is_turned_into_rgb() -> None:
    request = parse_request(b'{"img_data": [[[1]], [[2]], [[3]]], "channel_order": "bgr"}', MANY)
    np.testing.assert_array_equal(request.picture, [[[3, 2, 1]]])


def test_a_byte_order_mark_does_not_matter() -> None:
    assert parse_request(b'\xef\xbb\xbf{"img_data": [[[1]], [[2]], [[3]]]}', MANY).picture.shape == (1, 1, 3)


def test_a_picture_larger_than_allowed_is_refused_with_both_sizes() -> None:
    body = json.dumps({"img_data": np.zeros((3, 5, 6), int).tolist()}).encode()
    assert parse_request(body, 30).picture.shape == (5, 6, 3)
    with pytest.raises(BadRequest, match="5×6 = 30 pixels, more than the 29 allowed"):
        parse_request(body, 29)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(value=json_values)
def test_any_img_data_is_a_picture_or_a_bad_request(value: Any) -> None:
    try:
        request = parse_request(json.dumps({"img_data": value}).encode(), MANY)
    except BadRequest as error:
        assert error.error
        assert error.expected
    else:
        array = np.array(value)
        assert array.ndim == 3
        assert 3 in (array.shape[0], array.shape[2])
        assert request.picture.size == array.size


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | json_values.map(json.dumps))
def test_any_bytes_are_a_request_or_a_bad_request(body: Any) -> None:
    with pytest.raises(BadRequest):  # none of these has img_data with a picture in it
        parse_request(body, MANY)


@given(picture=pictures, data=st.data())
def test_one_cut_or_changed_row_is_found(picture: np.ndarray, data: st.DataObject) -> None:
    planes = picture.tolist()
    plane = data.draw(st.integers(0, 2))
    row = data.draw(st.integers(0, len(planes[0]) - 1))
    planes[plane][row] = data.draw(st.sampled_from([planes[plane][row] + [0], [planes[plane][row]], 0, None, "", {}]))
    with pytest.raises(BadRequest):
        parse_request(json.dumps({"img_data": planes}).encode(), MANY)
