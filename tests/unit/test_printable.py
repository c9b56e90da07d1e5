"""What is shown of files and servers is one short line without anything that a terminal obeys."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensormask_server.printable import LINE, VALUE, one_line, printable

pytestmark = pytest.mark.attack(11, "text that a terminal obeys or that forges lines")

ANY_TEXT = st.text(st.characters(codec=None), max_size=3 * LINE)  # surrogates, too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("weights.pkl", "weights.pkl"),
        ("Grüße 図 🎉", "Grüße 図 🎉"),
        ("a\nLOAD FAILED", "a\\nLOAD FAILED"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),  # the one-byte form of an escape sequence's start
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),  # shows what follows from right to left
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("not-utf-8\udcff", "not-utf-8\\udcff"),
        ("\U000e0041", "\\U000e0041"),  # an invisible tag
    ],
)
def test_characters_that_a_terminal_obeys_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_any_text_is_one_short_line(text: str) -> None:
    for shown, limit in [(printable(text), VALUE), (one_line(text), LINE), (one_line(ValueError(text)), LINE)]:
        assert len(shown.encode()) <= limit  # that it encodes at all: it has no surrogates
        assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
        assert len(shown.splitlines()) <= 1


@given(ANY_TEXT)
def test_what_is_printable_stays(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    assert one_line(printable(text)) == " ".join(printable(text).split())


def test_both_ends_of_a_long_text_stay() -> None:
    shown = printable("/start/" + "é" * 1_000_000 + "/end.pkl", 60)
    assert shown.startswith("/start/é")
    assert "é…é" in shown
    assert shown.endswith("é/end.pkl")


def test_lines_of_a_message_become_one() -> None:
    assert one_line(ValueError("mapping values\n  in line 3,\tcolumn 5\r\n")) == "mapping values in line 3, column 5"
    assert one_line("start\n" + "x\n" * 1_000_000 + "end").startswith("start x x")


PRINTING = """
import sys
from tensormask_server.printable import give_up_unprinted, say
for _ in range(3):
    say("a" * 5000)
    say("b" * 5000, sys.stderr)
give_up_unprinted()
sys.exit(7)
"""


@pytest.mark.parametrize("broken", ["stdout", "stderr"])
def test_a_pipe_that_nobody_reads_and_a_full_disk_end_no_program(broken: str) -> None:
    other = {"stdout": "stderr", "stderr": "stdout"}[broken]
    command = [sys.executable, "-c", PRINTING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        getattr(process, broken).close()
        said = getattr(process, other).read()
    assert process.returncode == 7
    assert set(said) <= set("ab\n")
    with Path("/dev/full").open("wb") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, broken: full}
        result = subprocess.run(command, **streams, check=False, text=True)
    assert result.returncode == 7
    assert set(getattr(result, other)) <= set("ab\n")
