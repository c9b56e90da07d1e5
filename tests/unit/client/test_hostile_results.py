"""The client refuses results of wrong types, depths or sizes with an error of its own, before they take memory."""

import gzip
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensormask_server.client import Client, TooLarge, WrongServer
from tensormask_server.instances import ResponseTooLarge, decode_mask, read_instances

from tests.unit.client.hostile_servers import GOOD, PIXEL, error_of, http, response, sending, talking

pytestmark = pytest.mark.attack(13, "a hostile server")

INSTANCE = {
    "category_id": 1,
    "category_name": "ant",
    "bbox": [0, 0, 1, 1],
    "score": 0.5,
    "segmentation": {"size": [1, 2], "counts": "02"},
}
WRONG = [
    b"",
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000,
    b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"9" * 100_000,
    b"1e999999",
    b'"\xff\xfe"',
    b"\xff\xfe" + "{}".encode("utf-16-le"),
    gzip.compress(response()),
    b"null",
    response(instances=None),
    response(instances={}),
    response(instances="ab"),
    response(instances=[None]),
    response(instances=[[]]),
    response(height=0),
    response(height=-1, width=-2),
    response(height=True),
    response(height=1.0),
    response(height="1"),
    response(height=None),
    response(height=10**400),
    response(model=1),
    response(model=None),
    response(weights_sha256=[]),
    *(
        response(instances=[{**INSTANCE, **change}]).replace(b"Infinity", b"1e400")
        for change in (
            {"bbox": [0, 0, 1]},
            {"bbox": [0, 0, 1, float("inf")]},
            {"bbox": [0, 0, 1, float("nan")]},
            {"bbox": [0, 0, 1, 1e300]},
            {"bbox": [0, 0, 1, 10**400]},
            {"bbox": [0, 0, 1, "1"]},
            {"bbox": [0, 0, 1, [1]]},
            {"bbox": "0011"},
            {"bbox": {"0": 1}},
            {"bbox": None},
            {"score": float("inf")},
            {"score": float("-inf")},
            {"score": "0.5"},
            {"score": True},
            {"score": None},
            {"score": [0.5]},
            {"category_id": 10**30},
            {"category_id": 1e400},
            {"category_id": 1.5},
            {"category_id": "1"},
            {"category_name": 1},
            {"category_name": None},
            {"category_name": ["ant"]},
            {"segmentation": None},
            {"segmentation": "02"},
            {"segmentation": []},
            {"segmentation": {}},
            {"segmentation": {"size": [1, 2]}},
            {"segmentation": {"size": [2, 1], "counts": "02"}},
            {"segmentation": {"size": None, "counts": "02"}},
            {"segmentation": {"size": [1, 2], "counts": [0, 2]}},
            {"segmentation": {"size": [1, 2], "counts": None}},
            {"segmentation": {"size": [1, 2], "counts": ""}},
            {"segmentation": {"size": [1, 2], "counts": "\ud800"}},
            {"segmentation": {"size": [1, 2], "counts": "o" * 100_000}},
        )
    ),
]


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_a_response_of_another_form_is_taken_for_another_servers(body: bytes) -> None:
    assert isinstance(error_of(sending(http(body))), WrongServer)


def test_the_instance_that_the_wrong_ones_are_made_of_is_right() -> None:
    with talking(sending(http(response(instances=[INSTANCE])))) as url:
        instances = Client(url, waits=()).predict(PIXEL)
    assert (instances.names, instances.scores.tolist(), instances.boxes.tolist()) == (("ant",), [0.5], [[0, 0, 1, 1]])
    assert instances.masks is not None
    assert instances.masks.tolist() == [[[True, True]]]


@pytest.mark.parametrize(
    ("height", "width", "count"), [(10**6, 10**6, 1), (10**12, 10**12, 1), (40_000, 41_944, 1), (1000, 1000, 1678)]
)
def test_the_masks_size_is_checked_before_memory_is_taken(height: int, width: int, count: int) -> None:
    segmentation = {"size": [height, width], "counts": "0"}
    body = response(instances=[{**INSTANCE, "segmentation": segmentation}] * count, height=height, width=width)
    with (
        talking(sending(http(body))) as url,
        pytest.raises(TooLarge, match=r"at most 1677721600 pixels.*max_mask_pixels"),
    ):
        Client(url, waits=()).predict(b"an image")


def test_masks_of_another_size_than_the_image_sent_are_another_servers() -> None:
    error = error_of(sending(http(response(height=2))))
    assert isinstance(error, WrongServer)
    assert "2×2 pixels for an image of 1×2" in str(error)


@pytest.mark.parametrize(
    "body", [b"[" + b"[]," * 2_000_000 + b"[]]", b"[" + b'"",' * 2_000_000 + b'""]', b"[" * 2_000_000]
)
def test_json_that_would_take_many_times_its_size_is_not_read(body: bytes) -> None:
    with pytest.raises(ResponseTooLarge, match="expected at most 1000000"):
        read_instances(body, "")


@pytest.mark.parametrize("end", [b"", b"\\", b"\n"], ids=["nothing", "a backslash", "a line end"])
def test_a_text_without_end_is_looked_at_once(end: bytes) -> None:
    """A search that began again at each escaped quotation mark would take hours."""
    with pytest.raises(ValueError, match="isn't a response in the format coco"):
        read_instances(b'{"a":"' + b'\\"' * 900_000 + end, "")


def test_brackets_and_commas_in_texts_are_no_values() -> None:
    body = response(model=r'[{,"\\' * 1_000_000)
    assert read_instances(body, "").model == r'[{,"\\' * 1_000_000


def run_length(value: int) -> str:
    """As COCO writes a length, of any size."""
    groups = []
    while True:
        group, value = value & 31, value >> 5
        if (value == 0 and not group & 16) or (value == -1 and group & 16):
            return "".join(chr(48 + each + 32) for each in groups) + chr(48 + group)
        groups.append(group)


@pytest.mark.parametrize(
    "lengths",
    [
        [2**31],
        [2**32 + 4],
        [2**33, 2**33],
        [2**63],
        [2**64 + 4],
        [2**64, 4],
        [4, 2**62, 2**62, 2**62, 2**62],
        [0, 2**33] * 1000,
        [-4, 8],
        [10**12],
        [5],
        [4, 0, 0, 1],
    ],
)
def test_run_lengths_that_overflow_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError):
        decode_mask("".join(map(run_length, lengths)), 2, 2)


def test_run_lengths_of_the_right_sum_are_read() -> None:
    assert decode_mask(run_length(1) + run_length(3), 2, 2).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(("height", "width"), [(2**17, 2**17), (-(2**17), -(2**17)), (10**12, 10**12), (-2, -2)])
def test_a_mask_of_a_size_that_none_has_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError):
        decode_mask(run_length(2**33) * 2 if height * width > 4 else run_length(4), height, width)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["02", 10**12, 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*INSTANCE, "size", "counts"]), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    of_response=st.dictionaries(st.sampled_from([*GOOD]), values),
    of_instance=st.dictionaries(st.sampled_from([*INSTANCE]), values),
)
def test_any_change_of_a_response_is_read_or_is_a_value_error(
    of_response: dict[str, object], of_instance: dict[str, object]
) -> None:
    with suppress(ValueError):
        read_instances(response(**{"instances": [{**INSTANCE, **of_instance}], **of_response}), "")


@pytest.mark.parametrize(
    ("header", "timing"),
    [
        ("decode;dur=1.5, network;dur=20", {"decode": 1.5, "network": 20.0}),
        ("cache;desc=HIT, network;dur=20, ;dur=3, x;dur=, y;dur=1e400, z;dur=nan, v;dur=-1", {"network": 20.0}),
        ("a;dur=" + "9" * 5000, {}),
        (";" * 60000, {}),
    ],
)
def test_timing_that_is_not_ours_is_left_out(header: str, timing: dict[str, float]) -> None:
    assert read_instances(response(), header).timing == timing
