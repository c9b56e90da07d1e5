"""What the progress of a download says."""

import io
import sys

import pytest
from tensormask_server.models.progress import Progress, state_text


def test_the_bar_has_the_bytes_the_speed_and_the_time_that_is_left() -> None:
    assert state_text(60_000_000, 120_000_000, 50_000_000, 100.0) == (
        "[############------------]  50 %  60.0 of 120.0 MB, 0.5 MB/s, 2 min 00 s left"
    )
    assert state_text(0, 120_000_000, 0, 0.0) == f"[{'-' * 24}]   0 %  0.0 of 120.0 MB, 0.0 MB/s"
    assert state_text(5_000_000, None, 5_000_000, 2.0) == "5.0 MB, 2.5 MB/s"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_only_a_terminal_gets_a_line_that_is_drawn_again(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("tensormask_server.models.progress.EVERY", 0)
    progress = Progress("the model")
    progress.show(10, 100)
    progress.show(100, 100)
    progress.finish(100)
    assert stream.getvalue().count("\r\033[Kthe model  [") == (2 if is_terminal else 0)
    assert stream.getvalue().splitlines()[-1].endswith("the model  0.0 MB in 0 s")
    assert ("\033" in stream.getvalue()) == is_terminal
