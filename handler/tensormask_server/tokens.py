"""The client's token: from a file or from the environment, since what stands on a command line all users can see."""

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

VARIABLE = "TENSORMASK_TOKEN"
LARGEST_FILE = 1 << 16  # bytes; a key file has less than 1 kB
READS = 5  # of a file that was refused: TorchServe writes it in place, so that half of it may be there
PAUSE = 0.1  # seconds between them
TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")  # what a header can hold, without spaces
EXPECTED = 'a file with the token alone, or TorchServe\'s key_file.json with the token as the key of its "inference"'


class TokenError(ValueError):
    """A token, or a file of one, that can't be used, in one line. It doesn't show the token."""


class TokenFile:
    """A file's token. It is read again after a server has refused it, since TorchServe writes a new one to its file.

    Threads can share it.
    """

    def __init__(self, path: str | Path):
        """
        Args:
            path: of a file with the token alone, or of TorchServe's key_file.json.

        Raises:
            TokenError: there is no token in it.
        """
        self._path = Path(path)
        self._lock = Lock()
        self._token = read_token(self._path)

    def token(self) -> str:
        return self._token

    def is_renewed(self, refused: str) -> bool:
        """Whether `token` is another one than the refused one now."""
        with self._lock:
            for _ in range(READS if self._token == refused else 0):
                try:
                    self._token = read_token(self._path)
                    break
                except TokenError:
                    time.sleep(PAUSE)
            return self._token != refused


def read_token(path: Path) -> str:
    """
    Raises:
        TokenError: the file can't be read, or holds no token.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1).decode("ascii").strip()
    except OSError as error:
        raise TokenError(
            f"can't read the token file {printable(path)}: {error.strerror}; expected {EXPECTED}"
        ) from error
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
    """The token without spaces and line ends around it, which files of tokens end in.

    Raises:
        TokenError: a header can't hold it.
    """
    token = text.strip()
    if not TOKEN.fullmatch(token):
        raise TokenError("the token is empty, or has a space or a character outside of ASCII; expected one word")
    return token


def add_token_options(parser: argparse.ArgumentParser) -> None:
    """Adds --token-file, for `token_of`. It also refuses --token, which earlier versions took."""
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="for a server that wants a token: a file that holds it, or TorchServe's key_file.json (default: the "
        f"environment variable {VARIABLE})",
    )
    parser.add_argument("--token", action=_RefusedToken, nargs="?", help=argparse.SUPPRESS)


def token_of(parsed: argparse.Namespace) -> str | TokenFile | None:
    """
    Args:
        parsed: the arguments of a parser with `add_token_options`.

    Returns:
        The file's token, or else the environment's; None where neither is given.

    Raises:
        TokenError: what is given holds no token.
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
