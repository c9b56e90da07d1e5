"""make: what it installs, from where, and how it gives the server options. Stand-ins take the programs' places."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("python", "pip", "tensormask-server")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment whose programs print their names and arguments."""
    (tmp_path / "bin").mkdir()
    for name in PROGRAMS:
        program = tmp_path / "bin" / name
        program.write_text('#!/bin/sh\necho "${0##*/} $@"\n')
        program.chmod(0o755)
    return tmp_path


def make(venv: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", f"VENV={venv}", *arguments]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "TORCH", "OPTIONS")  # of the make that runs the tests
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def run_lines(venv: Path, *arguments: str) -> list[str]:
    """What make and the programs printed, without the commands that make repeats."""
    result = make(venv, "--silent", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "size", "index"),
    [
        ([], "About 5.5 GB on disk where torch is for CUDA. 1.2 GB by make demo TORCH=cpu.", []),
        (["TORCH=cpu"], "About 1.2 GB on disk.", ["--extra-index-url", CPU_INDEX]),
    ],
)
def test_the_demo_says_first_what_it_fetches_and_shows_pips_progress(
    venv: Path, arguments: list[str], size: str, index: list[str]
) -> None:
    says, pip, demo = run_lines(venv, "demo", *arguments)
    assert says == f"Fetches torch, TorchServe, Java and what they need into {venv}, unless they are there. {size}"
    words = ["pip", "install", "--constraint", "constraints.txt", *index, "--editable", ".[serve,gateway]"]
    assert pip.split() == words
    assert demo == "python -m demo"


def test_another_torch_is_refused(venv: Path) -> None:
    result = make(venv, "demo", "TORCH=gpu")
    assert result.returncode == 2
    assert "TORCH is gpu; expected TORCH=cpu, or no TORCH" in result.stderr


def test_the_server_gets_options_and_the_way_to_give_them_is_printed(venv: Path) -> None:
    lines = run_lines(venv, "serve", "ARCHIVE=a.mar", "OPTIONS=-p 9000", "--assume-old", f"{venv}/.serve")
    assert lines == [
        "With other options: make serve OPTIONS='-p 9000'. All options: make serve OPTIONS=--help",
        "tensormask-server --archive a.mar -p 9000",
    ]
