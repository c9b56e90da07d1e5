"""TLS for TorchServe: checks a certificate and its key before Java starts, which would end with an exception."""

import base64
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import MOST_TEXT, open_regular, read_regular
from tensormask_server.torchserve.properties import PropertiesError

RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")  # the object identifier of RSA keys in PKCS #8, of RFC 8017
PKCS8 = re.compile("-----BEGIN PRIVATE KEY-----(.*?)-----END", re.DOTALL)
# OpenSSL's reasons; the last one stands for a key of another type than the certificate's
NOT_A_PAIR = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
NEW_PAIR = "openssl req -x509 -newkey rsa:4096 -noenc -keyout key.pem -out cert.pem makes a key and its certificate"


def with_certificate(properties: Mapping[str, str], certificate: Path, key: Path) -> dict[str, str]:
    """Adds TLS to the properties.

    Args:
        properties: of config.properties.
        certificate: a PEM file with the certificate, and the certificates up to its root.
        key: a PEM file with the certificate's RSA key, in PKCS #8, without a password.

    Returns:
        The properties, with the absolute paths of both files.

    Raises:
        PropertiesError: a file can't be used.
    """
    name = f"the certificate {printable(certificate)} with the key {printable(key)}"
    for path in (certificate.resolve(), key.resolve()):
        if not str(path).isprintable() or "\\" in str(path):  # these have a meaning in a file of properties
            raise PropertiesError(
                f"can't use {name}: TorchServe takes no path with a backslash, a line end or another control "
                "character; rename the file or its folder"
            )
    try:
        for path in (certificate, key):  # if it is a pipe, ssl would wait for ever
            open_regular(path, MOST_TEXT).close()
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password=lambda: "")
        content = read_regular(key, MOST_TEXT).decode(errors="replace")
    except OSError as error:  # ssl.SSLError is one, too
        raise PropertiesError(f"can't use {name}: {_reason(error)}") from error
    _check_is_rsa(key, content)
    return {**properties, "certificate_file": str(certificate.resolve()), "private_key_file": str(key.resolve())}


def _reason(error: OSError) -> str:
    """What was found and what is expected, if a file can't be read or OpenSSL refuses it."""
    if isinstance(error, ssl.SSLError) and error.reason in NOT_A_PAIR:
        return (
            "the certificate was made for another key; expected a certificate with its own key: "
            "openssl x509 -noout -pubkey -in CERT.pem and openssl pkey -pubout -in KEY.pem print the same for those"
        )
    place = "" if error.filename is None else f"{printable(error.filename)}: "
    found = one_line(error.strerror or error, 200)
    return f"{place}{found}; expected PEM files that belong together, the key without a password"


def _check_is_rsa(key: Path, content: str) -> None:
    """Checks that a key is an RSA key in PKCS #8. TorchServe can't read any other.

    Args:
        key: the file's path.
        content: the file's text, a key that OpenSSL can read.

    Raises:
        PropertiesError: the key is another one.
    """
    pem = PKCS8.search(content)
    if pem is not None and RSA_ENCRYPTION in base64.b64decode(pem[1]):
        return
    name = printable(key)
    if pem is not None or "BEGIN EC PRIVATE KEY" in content:
        raise PropertiesError(
            f"TorchServe can't use the key {name}, which isn't an RSA key; expected an RSA key and its certificate: "
            f"{NEW_PAIR}"
        )
    raise PropertiesError(
        f"TorchServe can't read the key {name}; expected an RSA key in PKCS #8: "
        f"openssl pkcs8 -topk8 -nocrypt -in {name} prints this key so"
    )
