"""TorchServe's config.properties: read, and with the addresses and the certificate that a server is to have."""

import base64
import ipaddress
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from tensormask_server.printable import one_line, printable, quoted
from tensormask_server.regular_files import MOST_TEXT, open_regular, read_regular, read_text

RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")  # the name of a key's kind in it, of RFC 8017


class PropertiesError(Exception):
    """A setting of TorchServe's that can't be used, in one line."""


def read_properties(path: Path) -> dict[str, str]:
    """The keys and values of a config.properties.

    Raises:
        PropertiesError: the file can't be read, or isn't of that kind.
    """
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise PropertiesError(f"can't read {printable(path)}: {error.strerror}; --ts-config names another") from error
    except UnicodeError as error:
        raise PropertiesError(f"{printable(path)} isn't text; expected lines of key=value") from error
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    wrong = next((line for line in lines if not re.match(r"\s*[A-Za-z_][\w.]*\s*=", line)), None)
    if wrong is not None:
        raise PropertiesError(
            f"{printable(path)} has the line {quoted(wrong[:60])}; expected lines of key=value, as in config.properties"
        )
    pairs = [line.split("=", 1) for line in lines]
    return {key.strip(): value.strip() for key, value in pairs}


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Writes a config.properties, which Java takes for Latin-1: letters beyond ASCII, as of a path, are escaped."""
    lines = "".join(f"{key}={value}\n" for key, value in properties.items())
    units = lines.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    path.write_text("".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes), encoding="ascii")


def with_addresses(
    properties: Mapping[str, str],
    host: str,
    inference_port: int,
    management_port: int,
    metrics_port: int,
    *,
    metrics_host: str = "127.0.0.1",
    has_tokens: bool = True,
) -> dict[str, str]:
    """The properties with these addresses: management always on loopback.

    With a certificate or a keystore in the properties the inference address is one of https.

    Args:
        has_tokens: whether a request needs a token where the host isn't loopback; on loopback the properties say it.
    """
    scheme = "https" if properties.keys() & {"certificate_file", "keystore"} else "http"
    changed = {
        "inference_address": f"{scheme}://{host}:{inference_port}",
        "management_address": f"http://127.0.0.1:{management_port}",
        "metrics_address": f"http://{metrics_host}:{metrics_port}",
        "grpc_inference_port": "0",  # any free one: nothing here uses gRPC
        "grpc_management_port": "0",
    }
    if not _is_loopback(host):
        changed["disable_token_authorization"] = "false" if has_tokens else "true"
    return {**properties, **changed}


def with_certificate(properties: Mapping[str, str], certificate: Path, key: Path) -> dict[str, str]:
    """The properties with TLS by these PEM files: the certificate (and those up to its root), and its PKCS #8 RSA key.

    Raises:
        PropertiesError: a file can't be used; TorchServe itself would end with an exception of Java's.
    """
    expected = "expected PEM files that belong together, the key without a password"
    shown = f"the certificate {printable(certificate)} with the key {printable(key)}"
    for path in (certificate.resolve(), key.resolve()):
        if not str(path).isprintable() or "\\" in str(path):  # which mean something in a file of properties
            raise PropertiesError(
                f"can't use {shown}: TorchServe takes no path with a backslash, a line end or another control "
                "character; rename the file or its folder"
            )
    try:
        for path in (certificate, key):  # ssl itself would wait for ever for a pipe's other end
            open_regular(path, MOST_TEXT).close()
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password=lambda: "")
        content = read_regular(key, MOST_TEXT).decode(errors="replace")
        pem = re.search("-----BEGIN PRIVATE KEY-----(.*?)-----END", content, re.DOTALL)
    except OSError as error:  # of ssl, too
        place = "" if error.filename is None else f"{printable(error.filename)}: "
        raise PropertiesError(
            f"can't use {shown}: {place}{one_line(error.strerror or error, 200)}; {expected}"
        ) from error
    if pem is None or RSA_ENCRYPTION not in base64.b64decode(pem[1]):
        command = f"openssl pkcs8 -topk8 -nocrypt -in {printable(key)} writes a key of RSA so"
        raise PropertiesError(
            f"TorchServe can't read the key {printable(key)}; expected one of RSA in PKCS #8: {command}"
        )
    return {**properties, "certificate_file": str(certificate.resolve()), "private_key_file": str(key.resolve())}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
