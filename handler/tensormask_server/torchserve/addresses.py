"""The addresses that a server listens on, checked before it starts."""

import errno
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

# from an address of config.properties to the option that changes its port, and to the one that changes its host
PORT_OPTIONS = {
    "inference_address": "--port",
    "management_address": "--management-port",
    "metrics_address": "--metrics-port",
}
HOST_OPTIONS = {"inference_address": "--host", "metrics_address": "--metrics-host"}


class AddressError(Exception):
    """An address can't be used. The message has one line."""


def port_of(address: str) -> int:
    """The port of an http:// or https:// address; 0 if it has none."""
    return urlsplit(address).port or 0


def check_port(key: str, address: str) -> None:
    """Checks that this process could listen on an address.

    Args:
        key: the address's key in config.properties.
        address: an http:// or https:// URL with a host and a port.

    Raises:
        AddressError: another process listens there, or the host isn't this machine's.
    """
    parts = urlsplit(address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except OSError as error:
            raise unusable_address(key, address, error) from error


def unusable_address(key: str, address: str, error: OSError) -> AddressError:
    """The error for an address that can't be listened on. It names the option that changes the address."""
    if error.errno == errno.EADDRINUSE:
        expected = f"a port that no other program uses: choose another with {PORT_OPTIONS[key]} PORT"
    elif error.errno == errno.EACCES or key not in HOST_OPTIONS:
        expected = f"a port that this user may use: choose another with {PORT_OPTIONS[key]} PORT"
    else:
        expected = f"an address of this machine: choose another with {HOST_OPTIONS[key]} HOST"
    return AddressError(f"can't listen on {address}: {error.strerror}; expected {expected}")


def check_ports_differ(properties: Mapping[str, str]) -> None:
    """Checks that no two of the three addresses have the same port.

    Args:
        properties: of config.properties, with all three addresses.

    Raises:
        AddressError: two of the addresses have one port.
    """
    options: dict[int, str] = {}
    for key, option in PORT_OPTIONS.items():
        port = port_of(properties[key])
        other = options.setdefault(port, option)
        if other != option:
            raise AddressError(f"{other} and {option} are both {port}; expected two ports: choose another for one")
