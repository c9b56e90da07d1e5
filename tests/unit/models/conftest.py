"""A local https mirror that is trusted, and a cache of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import self_signed
from tests.mirror import Mirror, mirror_with


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, which doesn't exist yet. No proxy or mirror of the machine's is used."""
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "TENSORMASK_MODEL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TENSORMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def mirror(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A running server whose certificate SSL_CERT_FILE names."""
    with mirror_with(*certificate) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(running.certificate))
        yield running
