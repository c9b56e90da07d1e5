"""The client's token, from a file or the environment. It is no option, as all users can read command lines."""

import argparse
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import NoReturn

from tensormask_server.printable import printable
from tensormask_server.regular_files import read_regular

VARIABLE = "TENSORMASK_TOKEN"
LARGEST_FILE = 1 << 16  # bytes; a key file has less than 1 kB
READS = 5  # of a file after a refusal: TorchServe writes it in place, so it may be half written
PAUSE = 0.1  # seconds between two reads
TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")  # the characters that a header can hold, without spaces
EXPECTED = (
    'a regular file with only the token, or TorchServe\'s key_file.json with the token as the key of its "inference"'
)


class TokenError(ValueError):
    """A token, or a file with a token, can't be used. The message has one line, and doesn't show the token."""


class TokenFile:
    """The token in a file. It is read again after a server has refused it, because TorchServe renews the token.

    Threads can share one object.
    """

    def __init__(self, path: str | Path):
        """
        Args:
            path: of a file with only the token, or of TorchServe's key_file.json.

        Raises:
            TokenError: the file can't be read, or has no token.
        """
        self._path = Path(path)
        self._lock = Lock()
        self._token = read_token(self._path)

    def token(self) -> str:
        """The token as the file had it when it was last read."""
        return self._token

    def is_renewed(self, refused: str) -> bool:
        """Reads the file again if `token` is the refused one. It returns whether `token` is another one now."""
        with self._lock:
            for _ in range(READS if self._token == refused else 0):
                try:
                    self._token = read_token(self._path)
                    break
                except TokenError:
                    time.sleep(PAUSE)
            return self._token != refused


def read_token(path: Path) -> str:
    """Reads the token in a file.

    Args:
        path: of a regular file. A pipe could make the client wait for ever, and can't be read again.

    Returns:
        The token.

    Raises:
        TokenError: the file can't be read, or has no token.
    """
    try:
        text = read_regular(path, LARGEST_FILE).decode("ascii").strip()
    except OSError as error:
        found = str(error.strerror).partition("; expected")[0]  # what RefusedFileError expects isn't enough here
        raise TokenError(f"can't read the token file {printable(path)}: {found}; expected {EXPECTED}") from error
    except ValueError as error:
        raise TokenError(f"the token file {printable(path)} isn't ASCII text; expected {EXPECTED}") from error
    if text.startswith("{"):
        try:
            text = json.loads(text)["inference"]["key"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = ""
    if not isinstance(text, str) or not TOKEN.fullmatch(text):
        raise TokenError(f"the token file {printable(path)} holds no token; expected {EXPECTED}")
    return text


def checked_token(text: str) -> str:
    """Checks a token.

    Args:
        text: the token. Spaces and line ends around it are ignored.

    Returns:
        The token without them.

    Raises:
        TokenError: a header can't hold the token.
    """
    token = text.strip()
    if not TOKEN.fullmatch(token):
        raise TokenError(
            "the token is empty, or has a space or a character outside of ASCII; expected one word of ASCII characters"
        )
    return token


def add_token_options(parser: argparse.ArgumentParser) -> None:
    """Adds --token-file, for `token_of`, and the option --token of earlier versions, which gets an error."""
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a file with the server's token, or TorchServe's key_file.json (default: the environment variable "
        f"{VARIABLE})",
    )
    parser.add_argument("--token", action=_RefusedToken, nargs="?", help=argparse.SUPPRESS)


def token_of(parsed: argparse.Namespace) -> str | TokenFile | None:
    """Finds the token that the user gives.

    Args:
        parsed: the arguments of a parser with `add_token_options`.

    Returns:
        The file's token, otherwise the environment's. None: the user gives none.

    Raises:
        TokenError: the file or the variable has no token.
    """
    if parsed.token_file is not None:
        return TokenFile(parsed.token_file)
    text = os.environ.get(VARIABLE, "")
    return checked_token(text) if text.strip() else None


class _RefusedToken(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        _values: str | Sequence[object] | None,
        _option: str | None = None,
    ) -> NoReturn:
        parser.error(
            "--token is no longer an option, since all users of a machine can read command lines; give "
            f"--token-file FILE, or set the environment variable {VARIABLE}"
        )
