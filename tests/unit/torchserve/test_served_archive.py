"""Settings of an archive are read within limits, because nobody has checked it yet."""

import resource
import zipfile
from pathlib import Path

import pytest
from tensormask_server.integrity import SUMS
from tensormask_server.torchserve.served_archive import ArchiveUnusable, ServedModel, check_archives, served_model
from tensormask_server.torchserve.worker_memory import WEIGHTS, worker_memory

from tests.many_aliases import MANY_ALIASES

UNREADABLE = {"aliases": MANY_ALIASES, "depth": b"[" * 60_000, "bytes": b"a: \xff", "no YAML": b"a: b: c"}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_settings_that_nobody_can_read_are_named_before_the_start(content: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", "{}")
        archive.writestr(SUMS, "")
        archive.writestr("model-config.yaml", content)
    assert served_model(tmp_path / "some.mar") == ServedModel()
    with pytest.raises(
        ArchiveUnusable, match=r"some.mar can't be served: its model-config.yaml can't be read: [^\n]+$"
    ):
        check_archives([tmp_path / "some.mar"], {}, tmp_path)


def test_a_bomb_of_settings_takes_no_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.mar", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(WEIGHTS, "")
        for name in ("model-config.yaml", "config.yaml"):
            with archive.open(name, "w") as file:
                for _ in range(1000):
                    file.write(b"#" * 1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert served_model(tmp_path / "some.mar") == ServedModel()
    assert worker_memory(tmp_path / "some.mar", ServedModel()) == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # kB
