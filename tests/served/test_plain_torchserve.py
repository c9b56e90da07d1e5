"""TorchServe's own command with the project's config.properties and an archive in model_store/."""

from pathlib import Path

from reference.cases import Case
from tests.served.conftest import request_body
from tests.served.plain import plain_torchserve


def test_torchserve_start_serves_and_stop_stops(archive: Path, case: Case) -> None:
    with plain_torchserve(archive) as server:
        assert len(server.post(request_body(case.image)).tensors()["scores"]) > 3
    assert not server.is_ready()
