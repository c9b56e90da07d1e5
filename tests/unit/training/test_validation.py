"""AP during a training, and the best weights beside the last."""

import json
from pathlib import Path

import pytest
import torch
from tensormask_server.model_files.checkpoint import load_checkpoint

from bench.scores import AveragePrecision, Scores
from tests.unit.training.small_training import write_config, write_data, write_scored_data
from training.annotations import DataError, read_annotations
from training.network import network_to_train
from training.settings import load_training_config
from training.trainer import Run, train
from training.validation import keep_best


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_scored_data(tmp_path / "data")


def test_the_scores_are_written_and_the_best_weights_kept(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_training_config(write_config(tmp_path / "config.yaml", MAX_ITER=3))
    train(config, Run(data, tmp_path / "out", workers=0, validate=data, every=2))
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    scored = [line for line in lines if "mask AP" in line]
    assert [line["iteration"] for line in scored] == [2, 3]
    assert set(scored[0]) == {"iteration", "box AP", "box AP50", "mask AP", "mask AP50"}
    assert (
        load_checkpoint(tmp_path / "out" / "best.pkl").keys()
        == load_checkpoint(tmp_path / "out" / "weights.pkl").keys()
    )
    printed = capsys.readouterr().err
    assert "validation after iteration 2, the best so far:" in printed
    assert "AP50" in printed and "    mask" in printed


def test_only_better_weights_replace_the_best(tmp_path: Path) -> None:
    config = load_training_config(write_config(tmp_path / "config.yaml"))
    networks = [network_to_train(config) for _ in range(3)]
    for network, ap, kept, best in zip(networks, (0.2, 0.1, 0.3), (True, False, True), (0, 0, 2), strict=True):
        assert keep_best(tmp_path, network, _scores(ap), done=5) == kept
        written = load_checkpoint(tmp_path / "best.pkl")
        assert torch.equal(written["head.cls_score.weight"], networks[best].state_dict()["head.cls_score.weight"])
    assert json.loads((tmp_path / "best.json").read_text()) == {"iteration": 5, "AP": 30}


def test_scores_that_are_no_numbers_keep_nothing(tmp_path: Path) -> None:
    network = network_to_train(load_training_config(write_config(tmp_path / "config.yaml")))
    assert not keep_best(tmp_path, network, _scores(float("nan")), done=5)
    assert not (tmp_path / "best.pkl").exists()


def _scores(ap: float) -> Scores:
    return Scores(AveragePrecision(0.9, 0, 0, 0, 0, 0), AveragePrecision(ap, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"categories": [{"id": 5}, {"id": 9}, {"id": 10}]}, r"has the categories \[5, 9, 10\], and the training has"),
        ({"annotations": [{"id": 1, "image_id": 10, "category_id": 5}]}, "annotation 1 has no 'bbox'"),
        (
            {"images": [{"id": 10, "file_name": "absent.png", "height": 96, "width": 96}], "annotations": []},
            "absent.png",
        ),
    ],
)
def test_a_folder_that_can_not_be_scored_on_is_named(
    tmp_path: Path, data: Path, change: dict[str, object], said: str
) -> None:
    other = write_data(tmp_path / "other")
    path = other / "instances.json"
    path.write_text(json.dumps({**read_annotations(path), **change}))
    config = load_training_config(write_config(tmp_path / "config.yaml"))
    with pytest.raises(DataError, match=said):
        train(config, Run(data, tmp_path / "out", workers=0, validate=other))
    assert not (tmp_path / "out" / "weights.pkl").exists()
