"""The file that tests download from the mirror, and the error of a failed download."""

import hashlib
from pathlib import Path

import pytest
from tensormask_server.models.cache import Wanted, fetch
from tensormask_server.models.download import Patience
from tensormask_server.models.errors import ModelError

from tests.mirror import Mirror
from tests.waiting import PATIENCE

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/weights/model.pkl"
QUICK = Patience(timeout=PATIENCE, waits=(0, 0, 0))


def wanted(mirror: Mirror, cache: Path, sha256: str = SHA256, most: int = 1 << 21) -> Wanted:
    mirror.files.setdefault(PATH, CONTENT)
    return Wanted("the model", mirror.url + PATH, cache / "model.pkl", most, sha256, "fetch it by hand")


def error_of(file: Wanted, patience: Patience = QUICK) -> str:
    with pytest.raises(ModelError) as caught:
        fetch(file, patience=patience)
    assert not file.path.exists()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)
