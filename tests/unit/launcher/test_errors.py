"""Which errors the launcher reports in one line, and which keep their traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from tensormask_server.launcher.command import main

from tests.waiting import PATIENCE

# a fault of the program where the archive is made
FAULTY = """
import sys
from tensormask_server.archive import making
from tensormask_server.launcher import command
def make(request):
    raise ValueError("a fault of the program")
making.make = make
sys.exit(command.main(sys.argv[1:]))
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *command], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path: Path) -> None:
    result = run(tmp_path, "-c", FAULTY, "-cp", "network.yaml", "-tp", "weights.pth")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("ValueError: a fault of the program\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-cp", "network.yaml", "-tp", "absent.pth"), "can't read the configuration network.yaml: No such file"),
        (("-cp", "words.yaml", "-tp", "absent.pth"), "words.yaml"),
        (("--model", "dmeo"), "there is no model 'dmeo'"),
        (("--model", "demo", "-t", "7"), "--threshold is 7.0"),
        (("--model", "demo", "--classes", "absent.txt"), "absent.txt"),
    ],
)
def test_wrong_arguments_and_files_are_reported_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "words.yaml").write_text("no configuration")
    result = run(tmp_path, "-m", "tensormask_server.launcher", *arguments)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("tensormask-server: ")
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "9" * 5000), "is not a port; expected a whole number from 1 to 65535"),
        (("--stop-timeout", "9" * 5000), "is not a whole number of seconds, 0 or more"),
        (("--idle-timeout", "0"), "'0' is not a whole number of seconds, 1 or more"),
        (("--memory", f"{'9' * 5000}g"), "is not a size of memory; expected a whole number with k, m, g or t"),
    ],
)
def test_numbers_that_can_not_be_used_are_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--model", "demo", *arguments])
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("tensormask-server: error: argument ")
    assert arguments[0] in line
    assert said in line
    assert len(line) < 300
