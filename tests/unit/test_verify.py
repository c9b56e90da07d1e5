"""Our network beside another: which detections count as the same, what is printed, and the exit status."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensormask_server import Detections, load_predictor
from tensormask_server.archive.__main__ import main as archive
from tensormask_server.verify import NAMES as ENGINE_NAMES
from tensormask_server.verify import compare, main, table, verify

from reference.cases import CASES, load_case, write_weights
from tests.many_aliases import MANY_ALIASES
from tests.unit.small_network import noise, small_predictor

TINY = load_case("tiny")
NAMES = tuple(f"class {i}" for i in range(5))


@pytest.mark.parametrize("name", [name for name in CASES if name != "r50"])
def test_our_detections_are_detectron2s(name: str, tmp_path: Path) -> None:
    case = load_case(name)
    predictor = load_predictor(case.config, write_weights(case, tmp_path / "weights.pkl"))
    own = predictor.config.detection
    [detections] = predictor([case.image])
    compared = compare(detections, case.expected, own.score_threshold, own.max_detections)
    assert compared.is_same
    assert len(compared.pairs) == len(detections) == len(case.expected)


def without(detections: Detections, index: int) -> Detections:
    kept = [i for i in range(len(detections)) if i != index]
    assert detections.masks is not None
    return Detections.of_masks(
        detections.boxes[kept], detections.scores[kept], detections.classes[kept], detections.masks[kept]
    )


@pytest.mark.parametrize("index", [0, 10, 20])
def test_a_detection_of_only_one_engine_is_a_difference_and_is_shown(index: int) -> None:
    fewer = without(TINY.expected, index)
    for both, unpaired, engine in (
        ((fewer, TINY.expected), ([], [index]), "detectron2"),
        ((TINY.expected, fewer), ([index], []), "native"),
    ):
        compared = compare(*both, 0.05, 100)
        assert (compared.unpaired, compared.is_same) == (unpaired, False)
        [line] = [line for line in table(compared, NAMES, ENGINE_NAMES) if "only by" in line]
        assert f"only by {engine}, box" in line


def test_detections_near_the_lowest_score_need_no_pair() -> None:
    last = len(TINY.expected) - 1
    fewer = without(TINY.expected, last)
    scores = TINY.expected.scores
    assert not compare(fewer, TINY.expected, 0.05, 100).is_same
    assert compare(fewer, TINY.expected, float(scores[last]) - 5e-5, 100).is_same  # near the threshold
    assert not compare(fewer, TINY.expected, 0.05, last + 1).is_same
    near = replace(TINY.expected, scores=np.append(scores[:-1], scores[last - 1] - np.float32(5e-5)))
    assert compare(fewer, near, 0.05, last).is_same  # the first has the most detections


def test_two_runs_of_one_network_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    engines = small_predictor(), small_predictor()
    assert verify(engines, [("one.png", noise(90, 120)), ("two.png", noise(100, 80, seed=1))], 0.3, ENGINE_NAMES, NAMES)
    said = capsys.readouterr().out
    assert "one.png, 90×120: " in said
    assert "images: 2, pairs: " in said
    assert "boxes differ by at most 0.00000 pixels, in the mean by 0.00000" in said
    assert "masks have an IoU of at least 1.00000, in the mean of 1.00000" in said
    assert "ms native" in said
    assert "ms detectron2" in said
    assert said.splitlines()[-1].startswith("the same: boxes within 0.05 pixels")


def test_another_precision_is_not_the_same_and_each_difference_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    engines = small_predictor(), small_predictor(dtype=torch.bfloat16)
    assert not verify(engines, [("one.png", noise(90, 120))], 0.3, ENGINE_NAMES, NAMES)
    said = capsys.readouterr().out
    assert "  NOT THE SAME\n" in said
    assert said.splitlines()[-1].startswith("NOT THE SAME: boxes within 0.05 pixels")


def test_images_without_detections_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="there are no detections with scores above 1; lower --threshold"):
        verify((small_predictor(), small_predictor()), [("one.png", noise(90, 120))], 1.0, ENGINE_NAMES, NAMES)
    assert "one.png, 90×120: 0 by native, 0 by detectron2, 0 pairs" in capsys.readouterr().out


@pytest.mark.parametrize("threshold", ["nan", "-1", "5", "much"])
def test_a_wrong_threshold_is_an_error(threshold: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["-cp", "a.yaml", "-tp", "b.pkl", "c.png", f"--threshold={threshold}"])
    assert f"'{threshold}' is not a number from 0 to 1" in capsys.readouterr().err


def archived(folder: Path, name: str, *arguments: str, seed: int | None = None) -> Path:
    case = TINY if seed is None else replace(TINY, seed=seed)
    weights = write_weights(case, folder / f"{name}.pkl")
    words = ["--output", folder, "--config", case.config, "--weights", weights, "--name", name, *arguments]
    assert archive([str(word) for word in words]) == 0
    return folder / f"{name}.mar"


@pytest.mark.slow
def test_two_archives_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "tiny.png"
    Image.fromarray(TINY.image).save(image)
    exact = archived(tmp_path, "exact", "--threshold", "0.3")
    half, other = archived(tmp_path, "half", "--precision", "bfloat16"), archived(tmp_path, "other", seed=7)
    capsys.readouterr()
    assert main(["--archive", str(exact), "--against", str(exact), str(image)]) == 0
    said = capsys.readouterr().out
    assert f"A: {exact}, engine native, float32" in said
    assert "detections with scores above 0.3" in said
    assert said.splitlines()[-1].startswith("the same: ")
    for against in (half, other):
        assert main(["--archive", str(exact), "--against", str(against), str(image)]) == 1
        said = capsys.readouterr().out
        assert f"B: {against}, engine native, {'bfloat16' if against == half else 'float32'}" in said
        assert said.splitlines()[-1].startswith("NOT THE SAME: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "can't read the archive"), (b"no archive", "is no archive; expected a .mar of archive.sh")],
)
def test_an_archive_that_cant_be_read_is_one_line(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(TINY.image).save(tmp_path / "tiny.png")
    if content is not None:
        (tmp_path / "a.mar").write_bytes(content)
    assert main(["--archive", str(tmp_path / "a.mar"), "--against", "b.mar", str(tmp_path / "tiny.png")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("entry", "content"),
    [
        ("model-config.yaml", b"[" * 60_000),
        ("model-config.yaml", MANY_ALIASES),
        ("MAR-INF/MANIFEST.json", b"[" * 60_000),
        ("MAR-INF/MANIFEST.json", b'{"model": {"serializedFile": "../elsewhere"}}'),
    ],
)
def test_settings_that_nobody_can_read_are_one_line(
    entry: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """These two files have no sum."""
    sound = archived(tmp_path, "sound")
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(tmp_path / "changed.mar", "w") as new:
        for each in old.infolist():
            new.writestr(each.filename, content if each.filename == entry else old.read(each))
    Image.fromarray(TINY.image).save(tmp_path / "tiny.png")
    capsys.readouterr()
    changed = str(tmp_path / "changed.mar")
    assert main(["--archive", changed, "--against", str(sound), str(tmp_path / "tiny.png")]) == 2
    said = f"verify: the archive {changed} has no settings that can be read; archive.sh makes it again\n"
    assert capsys.readouterr().err == said


def test_one_archive_alone_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--archive", "a.mar", "image.png"])
    assert "expected --archive A.mar together with --against B.mar" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("detectron2") is not None, reason="detectron2 is installed: there is no error")
def test_without_detectron2_the_command_says_how_to_install_it_and_what_is_wrong_with_the_files_first(
    tmp_path: Path,
) -> None:
    image, weights = tmp_path / "tiny.png", write_weights(TINY, tmp_path / "tiny.pkl")
    Image.fromarray(TINY.image).save(image)
    command = [sys.executable, "-m", "tensormask_server.verify", "--config", TINY.config, "--weights"]
    absent = subprocess.run([*command, tmp_path / "absent.pkl", image], capture_output=True, text=True)
    assert (absent.returncode, absent.stdout) == (2, "")
    assert "absent.pkl: No such file" in absent.stderr
    result = subprocess.run([*command, weights, image], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("verify: the engine detectron2 can't be used: No module named 'detectron2'. ")
    assert "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'" in line


def test_the_command_beside_detectron2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("detectron2", reason="detectron2 is not installed: nothing is held beside it")
    pytest.importorskip("tensormask", reason="detectron2's TensorMask project is not installed")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU, which detectron2's aligned masks need: nothing is held beside it")
    Image.fromarray(TINY.image).save(tmp_path / "tiny.png")
    weights = write_weights(TINY, tmp_path / "tiny.pkl")
    assert main(["-cp", str(TINY.config), "-tp", str(weights), str(tmp_path / "tiny.png")]) == 0
    assert f"{len(TINY.expected)} by native, {len(TINY.expected)} by detectron2" in capsys.readouterr().out
    absent = main(["-cp", str(TINY.config), "-tp", str(weights), str(tmp_path / "absent.png")])
    assert (absent, capsys.readouterr().out) == (2, "")
