"""tensormask-server --model NAME: one command from nothing to a server, with a local mirror of the published files."""

import hashlib
from pathlib import Path

import pytest
from tensormask_server.models.files import files_of_model
from tensormask_server.models.table import model_named

from tests.certificates import self_signed
from tests.mirror import cut, mirror_with
from tests.published_weights import published_content
from tests.served.conftest import ROOT, launched

PHOTOGRAPH = (ROOT / "demo/images/composed.jpg").read_bytes()
SIX = model_named("tensormask_R_50_FPN_6x")


def test_the_demos_model_is_served_from_nothing(tmp_path: Path) -> None:
    with launched(tmp_path, "--model", "demo", PATH="", TENSORMASK_CACHE=str(tmp_path / "cache")) as server:
        assert server.name == "demo"
        response = server.post(PHOTOGRAPH, content_type="image/jpeg")
        assert response.status == 200
        assert b'"category_name":"' in response.body.replace(b": ", b":")
    assert not (tmp_path / "cache").exists()


@pytest.mark.extensive
def test_a_published_model_is_downloaded_checked_and_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With synthetic weights of the published shapes and size, whose SHA-256 begins with the published digits."""
    content = published_content(SIX.sha256)
    assert abs(len(content) - SIX.size) < 1e6
    cache = tmp_path / "cache"
    with mirror_with(*self_signed(tmp_path)) as mirror:
        mirror.files[f"/mirror/{SIX.weights}"] = content
        mirror.faults += [cut(100_000_000)]
        variables = {
            "TENSORMASK_CACHE": str(cache),
            "TENSORMASK_MODEL_URL": f"{mirror.url}/mirror",
            "SSL_CERT_FILE": str(mirror.certificate),
            "OMP_NUM_THREADS": "1",  # two threads wait for each other: on a busy machine ten times as long
        }
        with launched(tmp_path, "--model", SIX.name, PATH="", **variables) as server:
            assert server.name == SIX.name
            assert server.post(PHOTOGRAPH, content_type="image/jpeg").status == 200
        assert [asked for _, asked in mirror.requests] == [None, "bytes=100000000-"]
    record = (cache / SIX.name / f"{SIX.file_name}.sha256").read_text()
    assert record == f"{hashlib.sha256(content).hexdigest()}  {SIX.file_name}\n"
    for name, value in variables.items():  # from now on there is no mirror, and none is needed
        monkeypatch.setenv(name, value)
    assert files_of_model(SIX.name, offline=True).weights.read_bytes() == content
