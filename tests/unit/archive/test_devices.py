"""What an archive's workers and batches are by default, by the GPUs of the machine where it is made."""

import argparse
from pathlib import Path

import pytest
import torch
from tensormask_server.archive.arguments import add_archive_arguments, archive_request
from tensormask_server.archive.content import model_config
from tensormask_server.options import GPU_BATCH_SIZE

from reference.cases import load_case, write_weights


@pytest.mark.parametrize(
    ("options", "gpus", "workers", "batch_size"),
    [
        ("", 0, 1, 1),
        ("", 2, 2, GPU_BATCH_SIZE),
        ("--device cpu", 2, 1, 1),
        ("--device cuda", 0, 1, GPU_BATCH_SIZE),
        ("--device cuda", 4, 4, GPU_BATCH_SIZE),
        ("--workers 3", 2, 3, GPU_BATCH_SIZE),
        ("--batch-size 1", 2, 2, 1),
        ("--workers 3 --batch-size 2", 2, 3, 2),
    ],
)
def test_gpus_change_the_defaults(
    options: str, gpus: int, workers: int, batch_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    case = load_case("tiny")
    weights = write_weights(case, tmp_path / "tiny.pkl")
    parser = argparse.ArgumentParser()
    add_archive_arguments(parser)
    parser.set_defaults(threshold=0.5, output=tmp_path)
    request = archive_request(
        parser.parse_args(["--config", str(case.config), "--weights", str(weights), *options.split()])
    )
    settings = model_config(request)
    assert (settings["minWorkers"], settings["batchSize"]) == (workers, batch_size)
    assert request.options.precision == "float32"
    assert request.options.device == (options.split()[1] if options.startswith("--device") else "auto")
