"""Certificates of the tests' own, by the command of docs/DEPLOYMENT.md."""

import shutil
import subprocess
from pathlib import Path

import pytest

HAS_OPENSSL = shutil.which("openssl") is not None


def openssl(*arguments: object) -> None:
    """Skips the test where the command isn't installed."""
    if not HAS_OPENSSL:
        pytest.skip("there is no openssl to make a certificate with")
    subprocess.run(["openssl", *(str(each) for each in arguments)], check=True, capture_output=True)


def self_signed(folder: Path, key_type: str = "rsa:2048") -> tuple[Path, Path]:
    """A certificate of localhost and 127.0.0.1, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    request = ["req", "-x509", "-nodes", "-newkey", *key_type.split(), "-days", 1, "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    openssl(*request, *names, "-keyout", key, "-out", certificate)
    return certificate, key
