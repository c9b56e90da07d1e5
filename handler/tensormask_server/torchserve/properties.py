"""TorchServe's config.properties: reads, checks and writes it, and sets a server's addresses in it."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from tensormask_server.printable import printable, quoted
from tensormask_server.regular_files import read_text
from tensormask_server.spelling import did_you_mean
from tensormask_server.torchserve.property_keys import KNOWN_KEYS

MOST_INT = (1 << 31) - 1  # Java's largest int
DEFAULT_SIZE = 6_553_500  # bytes, TorchServe's own max_request_size and max_response_size


class PropertiesError(Exception):
    """A setting of TorchServe can't be used. The message has one line."""


def read_properties(path: Path) -> dict[str, str]:
    """Reads a config.properties.

    Args:
        path: of the file.

    Returns:
        Its keys and values.

    Raises:
        PropertiesError: the file can't be read, isn't a file of properties, or has a key that TorchServe doesn't know.
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
    properties = {key.strip(): value.strip() for key, value in pairs}
    unknown = next((key for key in properties if key not in KNOWN_KEYS), None)
    if unknown is not None:
        raise PropertiesError(
            f"{printable(path)} has the key {quoted(unknown)}, which TorchServe doesn't know"
            f"{did_you_mean(unknown, KNOWN_KEYS)}; expected keys of TorchServe's config.properties: correct it or "
            "remove the line"
        )
    return properties


def number_property(properties: Mapping[str, str], key: str, default: int) -> int:
    """Reads a property that Java reads as an int.

    Args:
        properties: of config.properties.
        key: of the property.
        default: its value if the properties don't have it.

    Raises:
        PropertiesError: it isn't a whole number from 1 to 2147483647.
    """
    text = properties.get(key, str(default))
    if not re.fullmatch("[0-9]{1,10}", text) or not 1 <= int(text) <= MOST_INT:
        raise PropertiesError(
            f"{key} is {quoted(text[:60])} in TorchServe's properties; expected a whole number from 1 to {MOST_INT}"
        )
    return int(text)


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Writes a config.properties.

    Java reads such a file as Latin-1, so letters beyond ASCII, as in a path, are escaped.
    """
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
    """Sets the addresses in the properties.

    Args:
        properties: of config.properties. With a certificate or a keystore the inference address is https.
        host: the address that clients connect to.
        inference_port: for requests.
        management_port: for the management API, which is always on loopback.
        metrics_port: for Prometheus.
        metrics_host: the address that Prometheus connects to.
        has_tokens: whether a request needs a token if `host` isn't loopback. On loopback the properties decide.

    Returns:
        The properties with the addresses.
    """
    scheme = "https" if properties.keys() & {"certificate_file", "keystore"} else "http"
    changed = {
        "inference_address": f"{scheme}://{host}:{inference_port}",
        "management_address": f"http://127.0.0.1:{management_port}",
        "metrics_address": f"http://{metrics_host}:{metrics_port}",
        "grpc_inference_port": "0",  # any free one: nothing here uses gRPC
        "grpc_management_port": "0",
    }
    if not is_loopback(host):
        changed["disable_token_authorization"] = "false" if has_tokens else "true"
    return {**properties, **changed}


def requires_tokens(properties: Mapping[str, str]) -> bool:
    """Whether a request needs a token."""
    return properties.get("disable_token_authorization", "false").lower() != "true"


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can connect to a host, a name or an IP address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
