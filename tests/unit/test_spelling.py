"""A misspelt name gets the nearest known one."""

import pytest
from tensormask_server.spelling import LONGEST_NAME, did_you_mean, did_you_mean_fraction

KNOWN = ("score_threshold", "max_detections", "RPN_ONLY", "traffic light")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("score_treshold", "score_threshold"),
        ("MAX_DETECTION", "max_detections"),
        ("rpn_onyl", "RPN_ONLY"),  # letter case doesn't matter, and the known name keeps its own
        ("Traffic Lights", "traffic light"),
    ],
)
def test_the_nearest_known_name_is_suggested(name: str, near: str) -> None:
    assert did_you_mean(name, KNOWN) == f" (did you mean {near}?)"


@pytest.mark.parametrize("name", ["", "colour", 7, None, "score_threshold" * LONGEST_NAME])
def test_nothing_is_suggested_where_nothing_is_near(name: object) -> None:
    assert did_you_mean(name, KNOWN) == ""
    assert did_you_mean(name, ()) == ""


def test_known_names_may_come_from_an_iterator() -> None:
    assert did_you_mean("score_treshold", iter(KNOWN)) == " (did you mean score_threshold?)"


@pytest.mark.parametrize(("value", "fraction"), [(50, "0.5"), (37.5, "0.375"), (100, "1")])
def test_a_percentage_is_suggested_as_a_fraction(value: float, fraction: str) -> None:
    assert did_you_mean_fraction(value) == f" (did you mean {fraction}?)"


@pytest.mark.parametrize("value", [-50, 0.5, 1.5, 101, float("nan"), float("inf"), True, None, "50"])
def test_no_fraction_is_suggested_for_what_is_no_percentage(value: object) -> None:
    assert did_you_mean_fraction(value) == ""
