"""tensormask-server --model NAME: one command from nothing to a server, with a local mirror of the published files."""

import hashlib
import signal
import threading
from pathlib import Path

import pytest
from tensormask_server.models.files import files_of_model
from tensormask_server.models.table import model_named

from tests.certificates import self_signed
from tests.mirror import cut, mirror_with, stalled
from tests.published_weights import mirror_of
from tests.served.conftest import ROOT, launched, starting
from tests.waiting import PATIENCE, wait_for

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
    with mirror_of(SIX, tmp_path) as (mirror, variables):
        [content] = mirror.files.values()
        mirror.faults += [cut(100_000_000)]
        with launched(tmp_path, "--model", SIX.name, PATH="", **variables) as server:
            assert server.name == SIX.name
            assert server.post(PHOTOGRAPH, content_type="image/jpeg").status == 200
        assert [byte_range for _, byte_range in mirror.requests] == [None, "bytes=100000000-"]
    record = (tmp_path / "cache" / SIX.name / f"{SIX.file_name}.sha256").read_text()
    assert record == f"{hashlib.sha256(content).hexdigest()}  {SIX.file_name}\n"
    for name, value in variables.items():  # from now on there is no mirror, and none is needed
        monkeypatch.setenv(name, value)
    assert files_of_model(SIX.name, offline=True).weights.read_bytes() == content


def test_ctrl_c_ends_a_download_in_one_line(tmp_path: Path) -> None:
    released = threading.Event()
    partial = tmp_path / "cache" / SIX.name / f"{SIX.file_name}.partial"
    with mirror_with(*self_signed(tmp_path)) as mirror:
        mirror.files[f"/{SIX.weights}"] = bytes(1_000_000)
        mirror.faults += [stalled(500_000, released)]
        variables = {
            "TENSORMASK_CACHE": str(tmp_path / "cache"),
            "TENSORMASK_MODEL_URL": mirror.url,
            "SSL_CERT_FILE": str(mirror.certificate),
        }
        try:
            with starting(tmp_path, "--model", SIX.name, **variables) as server:
                assert server.process is not None
                assert server.process.stdout is not None
                wait_for(partial.exists, "the download to begin", unless=server.process.poll)
                server.process.send_signal(signal.SIGINT)
                assert server.process.wait(timeout=PATIENCE) == 0
                assert server.process.stdout.read().splitlines()[-1] == "stopped"
        finally:
            released.set()
    assert partial.exists()  # the next run goes on from there
    assert not partial.with_name(SIX.file_name).exists()
