"""The addresses that a server listens on, checked before it starts."""

import contextlib
import errno
import socket
from collections.abc import Mapping
from pathlib import PurePath
from urllib.parse import urlsplit

import psutil

from tensormask_server.printable import printable

# from an address of config.properties to the option that changes its port, and to the one that changes its host
PORTS_OF_SERVER = {
    "inference_address": "--port",
    "management_address": "--management-port",
    "metrics_address": "--metrics-port",
}
GATEWAY = "gateway"  # of the launcher, and no key of config.properties
PORT_OPTIONS = {**PORTS_OF_SERVER, GATEWAY: "--gateway"}
HOST_OPTIONS = {"inference_address": "--host", "metrics_address": "--metrics-host", GATEWAY: "--host"}


class AddressError(Exception):
    """An address can't be used. The message has one line."""


def port_of(address: str) -> int:
    """The port of an http:// or https:// address; 0 if it has none."""
    return urlsplit(address).port or 0


def check_port(key: str, address: str) -> None:
    """Checks that this process could listen on an address.

    Args:
        key: the address's key in config.properties, or GATEWAY.
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
    by = ""
    if error.errno == errno.EADDRINUSE:
        by = _user_of(port_of(address))
        expected = f"a port that no other program uses: choose another with {PORT_OPTIONS[key]} PORT"
    elif error.errno == errno.EACCES or key not in HOST_OPTIONS:
        expected = f"a port that this user may use: choose another with {PORT_OPTIONS[key]} PORT"
    else:
        expected = f"an address of this machine: choose another with {HOST_OPTIONS[key]} HOST"
    return AddressError(f"can't listen on {address}: {error.strerror}{by}; expected {expected}")


def _user_of(port: int) -> str:
    """Names the process that listens on a port, and how to stop a server of ours.

    Returns:
        " by python (process 12)", for instance; "" if the process is another user's, or can't be looked up.
    """
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" by {_described(psutil.Process(connection.pid))}"
    return ""


def _described(process: psutil.Process) -> str:
    is_torchserve = "org.pytorch.serve.ModelServer" in process.cmdline()
    for each in (process, process.parent() if is_torchserve else None):
        if each is not None and _is_launcher(each.cmdline()):
            return f"a tensormask-server (process {each.pid}, which kill {each.pid} stops)"
    if is_torchserve:
        return f"a TorchServe (process {process.pid}, which torchserve --stop or kill {process.pid} stops)"
    return f"{printable(process.name())} (process {process.pid})"


def _is_launcher(words: list[str]) -> bool:
    return any(PurePath(word).name == "tensormask-server" or word == "tensormask_server.launcher" for word in words)


def check_ports_differ(properties: Mapping[str, str]) -> None:
    """Checks that no two of the three addresses have the same port.

    Args:
        properties: of config.properties, with all three addresses.

    Raises:
        AddressError: two of the addresses have one port.
    """
    options: dict[int, str] = {}
    for key, option in PORTS_OF_SERVER.items():
        port = port_of(properties[key])
        other = options.setdefault(port, option)
        if other != option:
            raise AddressError(f"{other} and {option} are both {port}; expected two ports: choose another for one")
