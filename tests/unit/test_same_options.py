"""A command that continues an earlier run has the options that the run began with, or says which differs."""

from pathlib import Path

import pytest
from tensormask_server.same_options import OptionsChanged, by_option, check_same_options


def test_the_same_options_continue_whatever_else_was_noted() -> None:
    check_same_options(Path("out"), {"--seed": 1, "--old": 2}, {"--seed": 1, "--new": None}, "--out")


@pytest.mark.parametrize(
    ("earlier", "now", "difference"),
    [
        (0.7, 0.2, "another --x: 0.7, not 0.2;"),
        (None, 0.2, "another --x: the default, not 0.2;"),
        (0.7, None, "another --x: 0.7, not the default;"),
        (("ant", "bee"), ("ant",), "another --x: ant, bee, not ant;"),
        ("\x1b[2J\n", "a", r"another --x: \x1b[2J\n, not a;"),
    ],
)
def test_another_value_names_the_option_both_values_and_what_to_do(
    earlier: object, now: object, difference: str
) -> None:
    with pytest.raises(OptionsChanged) as caught:
        check_same_options(Path("out"), {"--x": earlier}, {"--x": now}, "--out")
    message = str(caught.value)
    assert f"out holds results with {difference}" in message
    assert message.endswith("give the same --x to continue, or name another --out")


def test_a_long_value_is_cut() -> None:
    with pytest.raises(OptionsChanged) as caught:
        check_same_options(Path("out"), {"--x": "a" * 9999}, {"--x": ["b" * 9999]}, "--out")
    assert len(str(caught.value)) < 400


def test_names_become_options() -> None:
    assert by_option({"max_side": 9, "url": "u"}) == {"--max-side": 9, "--url": "u"}
