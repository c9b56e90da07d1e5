"""What `python -m training` can't begin with is told in one line, before anything is learnt."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.training.small_training import write_config, write_data
from training.__main__ import _own_gpu, main

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "absent.yaml"], "can't read the configuration absent.yaml"),
        (["--data", "absent"], "can't read the annotations absent/instances.json: No such file or directory"),
        (["--weights", "absent.pkl"], "can't read the weights absent.pkl"),
        (["--out", "config.yaml"], "can't write to config.yaml: File exists"),
        (["--workers", "-1"], "'-1' is not a whole number, 0 or more"),
        (["--threads", "0"], "'0' is not a whole number, 1 or more"),
        (["--semantic-weight", "-1"], "'-1' is not a number, 0 or more"),
        (["--name-weight", "nan"], "'nan' is not a number, 0 or more"),
        (["--name-weight", "inf"], "'inf' is not a number, 0 or more"),
        (["--name-weight", "much"], "'much' is not a number, 0 or more"),
        (["--every", "5"], "--every has no effect without --validate; give --validate FOLDER"),
        (["--minutes", "-1"], "'-1' is not a number, 0 or more"),
        (["--device", "gpu"], "'gpu' isn't a device; expected cpu, cuda, or cuda:1 and so on"),
        (["--device", "cuda:99"], f"'cuda:99' isn't here: torch {torch.__version__} finds"),
    ],
)
def test_what_can_not_be_begun_with_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(Path("config.yaml"))
    write_data(Path("data"))
    needed = ["--config", "config.yaml", "--data", "data", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["training", *needed, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_each_process_of_torchrun_has_its_own_gpu() -> None:
    assert [_own_gpu(torch.device("cuda"), process, 2).index for process in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="3 processes or more, and torch finds 2 GPUs; expected --nproc-per-node 2"):
        _own_gpu(torch.device("cuda"), 2, 2)
    with pytest.raises(ValueError, match="--device is cuda:1, and torchrun gives each process its own; expected"):
        _own_gpu(torch.device("cuda:1"), 0, 2)


def test_missing_packages_are_told_with_the_command_that_installs_them() -> None:
    """Without site-packages there is no torch."""
    result = subprocess.run(
        [sys.executable, "-S", "-m", "training"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == (
        "python -m training: No module named 'torch'; .venv/bin/pip install -c constraints.txt -e '.[train]' brings "
        "it\n"
    )
