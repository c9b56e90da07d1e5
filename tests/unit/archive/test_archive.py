"""archive.sh: a whole, self-contained archive with no code in its weights, or one line and nothing."""

import ast
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load
from tensormask_server import __version__
from tensormask_server.archive.__main__ import main

from reference.cases import load_case, write_weights
from reference.synthetic_weights import synthetic_state
from tests.unit.model_files.opcodes import called, pickled, text, torch_zip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CONFIG = load_case("tiny").config


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(load_case("tiny"), tmp_path_factory.mktemp("weights") / "tiny.pkl")


def archive_sh(output: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (ROOT / "archive.sh", "--output", output, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=output)


def assert_refused(result: subprocess.CompletedProcess[str], output: Path, said: str) -> None:
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert list(output.iterdir()) == []


def test_an_archive_holds_all_that_it_needs_and_says_so(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    options = [
        "--threshold",
        "0.3",
        "--name",
        "five",
        "--classes",
        tmp_path / "names.txt",
        "--workers",
        "2",
        "--max-side",
        "900",
    ]
    result = archive_sh(tmp_path, "--config", CONFIG, "--weights", weights, *options)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(tmp_path / "five.mar") as archive:
        names = set(archive.namelist())
        assert {"tensormask_handler.py", "tensormask_server/network/masks.py", "MAR-INF/MANIFEST.json"} <= names
        assert not [name for name in names if name.endswith((".pkl", ".pth", ".pyc")) or "/bulk/" in name]
        assert archive.read("classes.txt").decode().split() == ["ant", "bee", "cat", "dog", "eel"]
        content = archive.read("model-config.yaml")
        assert content.startswith(f"# made by tensormask-segmentation-server {__version__}\n".encode())
        settings = yaml.safe_load(content)
        assert (settings["minWorkers"], settings["handler"]["score_threshold"]) == (2, 0.3)
        assert settings["startupTimeout"] == 600
        assert (settings["handler"]["max_side"], settings["handler"]["max_images"]) == (900, 8)
        assert yaml.safe_load(archive.read("config.yaml"))["MODEL"]["TENSOR_MASK"]["NUM_CLASSES"] == 5
        tensors = load(archive.read("weights.safetensors"))
    assert {name: array.shape for name, array in tensors.items()} == load_case("tiny").shapes
    assert "five.mar" in result.stdout
    assert "Note: " not in result.stdout
    assert "torchserve --start" in result.stdout


def test_the_archive_holds_the_samples_that_can_be_used(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "out").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "images" / "1-cells.png")
    command = ("--config", CONFIG, "--weights", weights, "--samples", tmp_path / "images")
    assert archive_sh(tmp_path, *command).returncode == 0
    with zipfile.ZipFile(tmp_path / "tensormask.mar") as archive:
        assert archive.read("samples/1-cells.png") == (tmp_path / "images" / "1-cells.png").read_bytes()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    assert_refused(
        archive_sh(tmp_path / "out", *command), tmp_path / "out", "'notes.txt' has a name that can't be used"
    )


def test_the_archive_holds_the_merged_configuration(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "child.yaml").write_text(f"_BASE_: {CONFIG}\nTEST:\n  DETECTIONS_PER_IMAGE: 3\n")
    assert archive_sh(tmp_path, "--config", tmp_path / "child.yaml", "--weights", weights).returncode == 0
    with zipfile.ZipFile(tmp_path / "tensormask.mar") as archive:
        tree = yaml.safe_load(archive.read("config.yaml"))
    assert "_BASE_" not in tree
    assert (tree["TEST"]["DETECTIONS_PER_IMAGE"], tree["MODEL"]["RESNETS"]["DEPTH"]) == (3, 18)


def test_classes_without_names_are_noted(tmp_path: Path, weights: Path) -> None:
    result = archive_sh(tmp_path, "--config", CONFIG, "--weights", weights)
    note = (
        "the network's classes have no names, and are called class 0 to class 4; --classes FILE names them, one a line"
    )
    assert result.stdout.endswith(f"\nNote: {note}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "absent.yaml", "--weights", "{weights}"], "absent.yaml"),
        (["--config", "{config}", "--weights", "absent.pkl"], "absent.pkl"),
        (["--config", "{config}", "--weights", "absent"], "can't read the weights absent: No such file"),
        (["--config", "{config}", "--weights", "{weights}", "--output", "{config}"], "can't write"),
        (["--config", "{r50}", "--weights", "{weights}"], "MODEL.RESNETS.DEPTH"),
        (
            ["--config", "{config}", "--weights", "{config}"],
            "is a configuration (YAML); expected weights. Are -cp and -tp swapped?",
        ),
        (
            ["--config", "{config}", "--weights", "{weights}", "--threshold", "2"],
            "--threshold is 2.0; expected a number from 0 to 1",
        ),
        (
            ["--config", "{config}", "--weights", "{weights}", "--threshold", "50"],
            "--threshold is 50.0 (did you mean 0.5?); expected a number from 0 to 1",
        ),
        (
            ["--config", "{config}", "--weights", "{weights}", "--max-pixels", "99999999"],
            "--max-request-pixels is 33554432; expected --max-pixels, 99999999, or more",
        ),
        (["--config", "{config}", "--weights", "{weights}", "--name", "../x"], "--name is '../x'"),
        (["--config", "{config}", "--weights", "{weights}", "--classes", "{config}"], "expected 5"),
        pytest.param(
            ["--config", "{config}", "--weights", "{weights}", "--engine", "detectron2"],
            "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'",
            marks=pytest.mark.skipif(find_spec("detectron2") is not None, reason="detectron2 is installed"),
        ),
        (["--config", "{config}", "--weights", "{weights}", "--workers", "0"], "--workers is 0"),
    ],
)
def test_what_can_not_work_is_one_line_and_no_archive(
    tmp_path: Path, weights: Path, arguments: list[str], said: str
) -> None:
    places = {"config": CONFIG, "weights": weights, "r50": load_case("r50").config}
    assert_refused(archive_sh(tmp_path, *(word.format(**places) for word in arguments)), tmp_path, said)


def test_digits_in_the_name_are_checked_against_the_sha256(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "store"
    output.mkdir()
    wrong = Path(shutil.copy(weights, tmp_path / "model_final_e8df31.pkl"))
    assert_refused(archive_sh(output, "--config", CONFIG, "--weights", wrong), output, "e8df31")
    digits = hashlib.sha256(weights.read_bytes()).hexdigest()[:6]
    right = Path(shutil.copy(weights, tmp_path / f"model_final_{digits}.pkl"))
    assert archive_sh(output, "--config", CONFIG, "--weights", right).returncode == 0


def test_an_archive_that_is_there_stays_when_a_new_one_fails(tmp_path: Path) -> None:
    (tmp_path / "tensormask.mar").write_bytes(b"the old one")
    assert archive_sh(tmp_path, "--config", CONFIG, "--weights", "absent.pkl").returncode == 2
    assert (tmp_path / "tensormask.mar").read_bytes() == b"the old one"


def test_the_package_alone_is_enough_to_read_the_archive(tmp_path: Path, weights: Path) -> None:
    """What is in the archive runs by itself, whatever is installed of this project beside it."""
    assert archive_sh(tmp_path, "--config", CONFIG, "--weights", weights).returncode == 0
    zipfile.ZipFile(tmp_path / "tensormask.mar").extractall(tmp_path / "served")
    code = (
        "import tensormask_server as t, numpy as np; assert t.__file__.startswith(%r); "
        "print(len(t.load_predictor('config.yaml', 'weights.safetensors')([np.zeros((9, 9, 3), np.uint8)])))"
    )
    command = [sys.executable, "-c", code % str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path / "served", capture_output=True, text=True, env=dict(os.environ))
    assert result.stdout == "1\n", result.stderr


def test_the_archive_holds_all_that_its_modules_import(tmp_path: Path, weights: Path) -> None:
    """Commands are left out, and what only they import; nothing that stays imports any of it."""
    assert archive_sh(tmp_path, "--config", CONFIG, "--weights", weights).returncode == 0
    with zipfile.ZipFile(tmp_path / "tensormask.mar") as archive:
        sources = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    modules = {_module(name) for name in sources}
    project = {_module(path.relative_to(ROOT / "handler")) for path in (ROOT / "handler").rglob("*.py")}
    left_out = project - modules
    assert {"tensormask_server.launcher", "tensormask_server.client", "tensormask_server.bulk"} <= left_out
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                imported = {alias.name for alias in node.names}
            else:
                continue
            assert not imported & left_out, name


def _module(path: str | Path) -> str:
    return ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")


def test_a_broken_stdout_is_no_traceback(tmp_path: Path, weights: Path) -> None:
    """As of `archive.sh … | head`, whose `head` has ended."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [ROOT / "archive.sh", "--config", CONFIG, "--weights", weights, "--output", tmp_path]
    result = subprocess.run(list(map(str, command)), stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")
    assert zipfile.is_zipfile(tmp_path / "tensormask.mar")


@pytest.mark.parametrize(
    ("module", "who"),
    [("yaml.py", "os.getpid()"), ("model_archiver/model_packaging.py", "os.getppid()")],
    ids=["while it imports torch", "while it packs"],
)
def test_ctrl_c_is_one_line_and_leaves_nothing(tmp_path: Path, weights: Path, module: str, who: str) -> None:
    """In the place of a package stands a module that sends the signal."""
    store, temporary, place = tmp_path / "store", tmp_path / "tmp", tmp_path / "modules" / module
    for folder in (store, temporary, place.parent):
        folder.mkdir(parents=True)
    if place.parent.name == "model_archiver":
        (place.parent / "__init__.py").touch()
    place.write_text(f"import os, signal, time\nos.kill({who}, signal.SIGINT)\ntime.sleep(60)\n")
    command = [ROOT / "archive.sh", "--config", CONFIG, "--weights", weights, "--output", store]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "modules"), "TMPDIR": str(temporary)}
    result = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "archive.sh: stopped\n")
    assert list(store.iterdir()) == list(temporary.iterdir()) == []


def test_weights_that_would_run_code_are_one_line_and_run_nothing(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(torch_zip(pickled(text("w"), called("os", "system", text("touch ran")))))
    output = tmp_path / "store"
    output.mkdir()
    arguments = ["--config", CONFIG, "--weights", tmp_path / "weights.pth"]
    assert_refused(archive_sh(output, *arguments), output, "it asks for os.system")
    assert not list(tmp_path.rglob("ran"))


def test_a_configuration_of_terabytes_is_held_against_the_weights_before_memory_is_taken(
    tmp_path: Path, weights: Path
) -> None:
    wide = "MODEL: {TENSOR_MASK: {CLS_CHANNELS: 65536, BBOX_CHANNELS: 65536, MASK_CHANNELS: 65536}}"
    (tmp_path / "wide.yaml").write_text(f"_BASE_: {CONFIG}\n{wide}\n")
    output = tmp_path / "store"
    output.mkdir()
    command = f'ulimit -v 12000000; exec {ROOT}/archive.sh --output {output} "$@"'
    arguments = ["--config", tmp_path / "wide.yaml", "--weights", weights]
    result = subprocess.run(["sh", "-c", command, "sh", *arguments], capture_output=True, text=True)
    assert_refused(result, output, "MODEL.TENSOR_MASK.CLS_CHANNELS in the configuration disagrees")


def test_modules_in_the_folder_that_it_is_started_from_are_not_run(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "strangers"
    folder.mkdir()
    for name in ("torch", "yaml", "argparse", "tensormask_server"):
        (folder / f"{name}.py").write_text("open('ran', 'w')\n")
    command = [ROOT / "archive.sh", "--config", CONFIG, "--weights", weights, "--output", tmp_path / "store"]
    subprocess.run([str(word) for word in command], cwd=folder, check=True, capture_output=True)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("planted", [".tensormask.mar.partial", "tensormask.mar"])
def test_a_planted_link_is_not_followed(planted: str, tmp_path: Path, weights: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    store = tmp_path / "store"
    store.mkdir()
    (store / planted).symlink_to("../precious")
    result = archive_sh(store, "--config", CONFIG, "--weights", weights)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert zipfile.is_zipfile(store / "tensormask.mar")
    assert not (store / "tensormask.mar").is_symlink()


def archived(capsys: pytest.CaptureFixture[str], output: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """As `archive_sh`, in this process: most of a refusal's time is that of torch's import."""
    status = main(["--output", str(output), *map(str, arguments)])
    printed = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, status, printed.out, printed.err)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_network_of_infinite_numbers_is_not_archived(
    tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights are finite, and the layer's output isn't."""
    case = load_case("tiny")
    state = {name: array.copy() for name, array in synthetic_state(case.shapes).items()}
    layer = "backbone.bottom_up.res3.0.conv2"
    state[f"{layer}.weight"][:] = 6e4 if precision == "float16" else 3e38
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"model": state}, protocol=2))
    store = tmp_path / "store"
    store.mkdir()
    arguments = ["--config", CONFIG, "--weights", tmp_path / "weights.pkl", "--precision", precision]
    result = archived(capsys, store, *arguments)
    assert_refused(result, store, f"with --precision {precision} the layer {layer} gives numbers that are infinite")
    assert ("the largest of float16: use bfloat16 or float32" in result.stderr) == (precision == "float16")


def test_a_number_that_is_none_is_told_by_its_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {name: array.copy() for name, array in synthetic_state(load_case("tiny").shapes).items()}
    state["head.cls_score.bias"][1] = float("nan")
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"model": state}, protocol=2))
    store = tmp_path / "store"
    store.mkdir()
    result = archived(capsys, store, "--config", CONFIG, "--weights", tmp_path / "weights.pkl")
    assert_refused(result, store, "entry head.cls_score.bias holds values that are infinite or not a number")


HOSTILE = "\x1b[2J\n\u202eevil" + "x" * 5000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "{folder}/\x1b[2J\nevil.yaml", "--weights", "{weights}"], "\\x1b[2J\\nevil.yaml"),
        (["--config", "{folder}/key.yaml", "--weights", "{weights}"], "MODEL.FPN.\\x1b[2J\\n\\u202eevilxxx"),
        (["--config", "{folder}/base.yaml", "--weights", "{weights}"], "supported: the path of a local file"),
        (["--config", "{folder}/value.yaml", "--weights", "{weights}"], "supported: 'BGR' or 'RGB'"),
        (["--config", CONFIG, "--weights", "{folder}/entry.pkl"], "and no place in the network; most likely"),
        (["--config", CONFIG, "--weights", "{folder}/global.pkl"], "only numpy arrays and plain containers"),
        (["--config", CONFIG, "--weights", "{weights}", "--classes", "{folder}/\x1b[2J\n"], "\\x1b[2J\\n: "),
        (["--config", CONFIG, "--weights", "{weights}", "--name", HOSTILE[:100]], "expected letters, digits"),
    ],
)
def test_what_a_file_holds_is_shown_escaped_and_cut(
    arguments: list[str], said: str, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, quoted = tmp_path / "store", json.dumps(HOSTILE)
    store.mkdir()
    (tmp_path / "key.yaml").write_text(f'_BASE_: {CONFIG}\nMODEL: {{FPN: {{{quoted[:-4000]}": 1}}}}\n')
    (tmp_path / "base.yaml").write_text(f'_BASE_: "://{quoted[1:]}\n')
    (tmp_path / "value.yaml").write_text(f"_BASE_: {CONFIG}\nINPUT: {{FORMAT: {quoted}}}\n")
    state = {**synthetic_state(load_case("tiny").shapes), HOSTILE: np.zeros(1, np.float32)}
    (tmp_path / "entry.pkl").write_bytes(pickle.dumps({"model": state}, protocol=2))
    name = HOSTILE.replace("\n", "\r").encode()
    (tmp_path / "global.pkl").write_bytes(b"\x80\x02c" + name + b"\nsystem\n.")
    result = archived(capsys, store, *(word.format(folder=tmp_path, weights=weights) for word in map(str, arguments)))
    assert_refused(result, store, said)
    assert result.stderr.removesuffix("\n").isprintable()
    assert len(result.stderr.encode()) <= 1100
