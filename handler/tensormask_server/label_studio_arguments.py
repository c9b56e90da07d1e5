"""Arguments about Label Studio, which tensormask-gateway and the launcher of a gateway have."""

import argparse
import os
import re
from pathlib import Path

from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import read_regular
from tensormask_server.tokens import LARGEST_FILE, TokenError, checked_token

VARIABLE = "LABEL_STUDIO_API_KEY"  # as Label Studio's own backends have it
URL = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")


def add_label_studio_arguments(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Adds --label-studio and --label-studio-token-file.

    Args:
        parser: of a command.
        of: before the help, in a command that starts the gateway.
    """
    parser.add_argument(
        "--label-studio",
        type=label_studio_url,
        metavar="URL",
        help=f"{of}the Label Studio whose tasks have their images fetched; nothing is fetched from elsewhere "
        "(default: nothing is fetched)",
    )
    parser.add_argument(
        "--label-studio-token-file",
        type=Path,
        metavar="FILE",
        help=f"{of}a file with a token of that Label Studio (default: the environment variable {VARIABLE})",
    )


def label_studio_url(text: str) -> str:
    """Reads the URL of a Label Studio, as an argparse type. It loses a slash at its end."""
    if not URL.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not the URL of a Label Studio; expected https://HOST or http://HOST in lower case, with "
            ":PORT and a path if it has them"
        )
    return text.rstrip("/")


def label_studio_token(parsed: argparse.Namespace) -> str:
    """Finds the token for Label Studio that the user gives.

    Args:
        parsed: the arguments of a parser with `add_label_studio_arguments`.

    Returns:
        The file's token, otherwise the environment's; "" if the user gives none, or names no Label Studio.

    Raises:
        TokenError: the file or the variable has no token, or there is a file and no Label Studio.
    """
    if not parsed.label_studio:
        if parsed.label_studio_token_file is not None:
            raise TokenError("--label-studio-token-file needs --label-studio URL, the server that gets the token")
        return ""
    if (path := parsed.label_studio_token_file) is not None:
        try:
            return checked_token(read_regular(path, LARGEST_FILE).decode("ascii"))
        except (OSError, ValueError) as error:  # a TokenError among them
            found = one_line(error.strerror if isinstance(error, OSError) else error)
            raise TokenError(
                f"can't read the token file {printable(path)}: {found}; expected only a token of Label Studio in it"
            ) from error
    text = os.environ.get(VARIABLE, "")
    return checked_token(text) if text.strip() else ""
