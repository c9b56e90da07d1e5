"""The addresses that a server listens on, and the folder that it logs to, checked before it starts."""

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

ADDRESSES = ("inference_address", "management_address", "metrics_address")


class AddressError(Exception):
    """An address that can't be used; the message has one line."""


def port_of(address: str) -> int:
    """The port of an http:// or https:// address; 0 where it has none."""
    return urlsplit(address).port or 0


def check_port(key: str, address: str) -> None:
    """
    Args:
        key: of the address in config.properties.

    Raises:
        AddressError: something else listens there, or the host isn't this machine's.
    """
    parts = urlsplit(address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except OSError as error:
            raise unusable(key, address, error) from error


def unusable(key: str, address: str, error: OSError) -> AddressError:
    """What is told of an address that can't be listened on."""
    another = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
    return AddressError(f"can't use {address} ({key}): {error.strerror}; choose another {another}")


def check_ports_differ(properties: Mapping[str, str]) -> None:
    """
    Raises:
        AddressError: two of the addresses have one port.
    """
    keys: dict[int, str] = {}
    for key in ADDRESSES:
        port = port_of(properties[key])
        other = keys.setdefault(port, key)
        if other != key:
            raise AddressError(f"{other} and {key} both have the port {port}; choose another for one of them")


def check_owner(folder: Path) -> None:
    """
    Raises:
        OSError: another user than root owns the folder, or the link to it, and could lead elsewhere what is written.
    """
    if {folder.lstat().st_uid, folder.stat().st_uid} - {0, os.geteuid()}:
        raise OSError(errno.EPERM, "it belongs to another user; expected one of yours: --logs names it")
