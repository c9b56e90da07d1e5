"""Settings of all tests."""

import logging
import os
import signal
from collections import Counter

import pytest
import torch
from hypothesis import settings

# the same examples on each run, so that a failure comes from the change at hand; no deadline: the machine may be busy
settings.register_profile("same-everywhere", derandomize=True, deadline=None)
settings.load_profile("same-everywhere")

# a shell that runs tests in the background has them ignore Ctrl-C, and what they start would ignore it as well
signal.signal(signal.SIGINT, signal.default_int_handler)

# small networks gain nothing from more threads, which on a busy machine wait for each other: five times slower there
torch.set_num_threads(1)

# Ray's default niceness is 15, with which its workers get a hundredth of a core beside busy processes
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # Ray reads it in this case


@pytest.fixture(autouse=True)
def _whole_logs() -> None:
    """Has pytest keep all lines of the log.

    What makes graphs for OpenVINO may leave the handlers of all logs at ERROR.
    """
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.NOTSET)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has the result of a test that attacks name the attack, for the table."""
    for item in items:
        for marker in item.iter_markers("attack"):
            item.user_properties.append(("attack", marker.args))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of make attack, which chooses the tests that are marked so: a row for each attack."""
    if "attack" not in config.option.markexpr:
        return
    rows: dict[tuple[int, str], Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == "attack":
                    rows.setdefault((value[0], value[1]), Counter())[outcome] += 1
    terminalreporter.write_line("\n| | attack | variants | outcome |\n|---:|---|---:|---|")
    for (number, what), outcomes in sorted(rows.items()):
        held = "held" if outcomes.keys() == {"passed"} else ", ".join(f"{n} {name}" for name, n in outcomes.items())
        terminalreporter.write_line(f"| {number} | {what} | {outcomes.total()} | {held} |")
