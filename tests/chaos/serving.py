"""A server of the tests' small network, in a folder of its own."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reference.cases import load_case, write_weights
from tests.served.conftest import ROOT, THRESHOLD, Server, launched

CASE = load_case("tiny")


@contextmanager
def made_archive(*options: object, name: str = "tiny") -> Iterator[Path]:
    """An archive of the small network, with these options of archive.sh."""
    with tempfile.TemporaryDirectory(prefix="tensormask-chaos-") as temporary:
        folder = Path(temporary)
        weights = write_weights(CASE, folder / "tiny.pkl")
        command = [ROOT / "archive.sh", "--config", CASE.config, "--weights", weights, "--output", folder]
        command += ["--name", name, "--threshold", THRESHOLD, *options]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        yield folder / f"{name}.mar"


@contextmanager
def serving(archive: Path, *arguments: object, **environment: str) -> Iterator[Server]:
    """tensormask-server with one thread a worker; its logs are in `logs` beside the archive."""
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", **environment}
    with launched(archive.parent, "--archive", archive, *arguments, **environment) as server:
        yield server
