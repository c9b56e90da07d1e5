"""TLS is set up with a certificate and a key that TorchServe can use, and others are refused before it starts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tensormask_server.torchserve.certificate import with_certificate
from tensormask_server.torchserve.properties import PropertiesError, with_addresses

from tests.certificates import openssl, self_signed


def test_with_a_certificate_only_the_inference_address_is_https(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    properties = with_addresses(with_certificate({"model_store": "m"}, certificate, key), "127.0.0.1", 1, 2, 3)
    assert properties["inference_address"] == "https://127.0.0.1:1"
    assert properties["management_address"] == "http://127.0.0.1:2"
    assert (properties["certificate_file"], properties["private_key_file"]) == (str(certificate), str(key))
    assert properties["model_store"] == "m"


@pytest.mark.parametrize(
    "settings",
    [{"certificate_file": "c.pem", "private_key_file": "k.pem"}, {"keystore": "k.p12", "keystore_pass": "x"}],
)
def test_what_ts_config_says_of_tls_holds_too(settings: dict[str, str]) -> None:
    assert with_addresses(settings, "127.0.0.1", 1, 2, 3)["inference_address"] == "https://127.0.0.1:1"
    assert with_addresses({}, "127.0.0.1", 1, 2, 3)["inference_address"] == "http://127.0.0.1:1"


def of_another_kind(key: Path) -> None:
    self_signed(key.parent, "ec -pkeyopt ec_paramgen_curve:prime256v1")


def of_another_format(key: Path) -> None:
    openssl("rsa", "-in", key, "-traditional", "-out", key)


def of_another_certificate(key: Path) -> None:
    (key.parent / "other").mkdir()
    shutil.copy(self_signed(key.parent / "other")[1], key)


def of_another_certificate_and_kind(key: Path) -> None:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", key)


def with_a_password(key: Path) -> None:
    plain = key.rename(key.with_name("plain.pem"))  # openssl empties the file first
    openssl("pkcs8", "-topk8", "-in", plain, "-passout", "pass:secret", "-out", key)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (of_another_kind, "which isn't an RSA key; expected an RSA key and its certificate: openssl req -x509"),
        (of_another_format, "expected an RSA key in PKCS #8: openssl pkcs8 -topk8"),
        (of_another_certificate, "the certificate was made for another key; expected a certificate with its own key"),
        (of_another_certificate_and_kind, "the certificate was made for another key"),
        (with_a_password, "the key without a password"),
        (lambda key: key.write_text("no key"), "expected PEM files"),
        (lambda key: key.unlink(), "No such file or directory"),
    ],
)
def test_a_key_that_can_not_be_used_is_reported(spoil: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    spoil(key)
    with pytest.raises(PropertiesError) as caught:
        with_certificate({}, certificate, key)
    assert said in str(caught.value)
    assert "key.pem" in str(caught.value)
