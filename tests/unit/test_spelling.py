"""A misspelt name gets the nearest known one."""

import pytest
from tensormask_server.spelling import LONGEST_NAME, did_you_mean

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
