"""Makes text from files, servers and requests safe to print on a terminal or in a log.

Such text can have escape sequences that rewrite the terminal, line ends that forge log lines, or a megabyte.
"""

import contextlib
import os
import sys
import unicodedata
from pathlib import Path
from typing import TextIO

LINE = 1000  # bytes of a message
VALUE = 200  # bytes of one value in a message; a longer one would hide the rest of the sentence


def printable(value: object, limit: int = VALUE) -> str:
    """Escapes the characters that a terminal or a log wouldn't show as themselves, and cuts long text.

    It escapes control characters, line ends and separators, characters that change the direction of text or have no
    width, and bytes of file names that aren't UTF-8. Printable text stays as it is.

    Args:
        value: a string, or anything that `str` takes, such as a path.
        limit: the most bytes of the result as UTF-8; at least 20.

    Returns:
        One line. Cut text has "…" in its middle, so that the end of a path or of a sentence remains.
    """
    text = str(value)
    if len(text) > 2 * limit:  # more isn't needed of either end
        text = text[:limit] + text[-limit:]
    escaped = "".join(each if each.isprintable() else _escape(each) for each in text)
    content = escaped.encode()
    if len(content) <= limit:
        return escaped
    kept = limit - len("…".encode())
    start, end = content[: kept - kept // 3], content[len(content) - kept // 3 :]
    return f"{start.decode(errors='ignore')}…{end.decode(errors='ignore')}"


def one_line(message: object, limit: int = LINE) -> str:
    """An error's message on one line. Line ends and runs of spaces become one space; the rest is as in `printable`.

    Args:
        message: an exception, or anything that `str` takes.
        limit: the most bytes of the result as UTF-8; at least 20.
    """
    text = str(message)
    if len(text) > 4 * limit:  # splitting all of it would take time and memory
        text = f"{text[: 2 * limit]}…{text[-2 * limit :]}"
    return printable(" ".join(text.split()), limit)


def quoted(value: object, limit: int = VALUE) -> str:
    """A value as Python writes it, such as a string in quotation marks, escaped and cut by `printable`."""
    try:
        return printable(repr(value), limit)
    except (ValueError, RecursionError):  # a number of too many digits, or a list that contains itself
        return f"a {type(value).__name__} that is too large to show"


def is_one_line(text: str) -> bool:
    """Whether a text has no line ends, control characters or surrogates, which a header and a JSON text can't have.

    Other characters that `printable` escapes are allowed: names of files have spaces of all widths.
    """
    return all(unicodedata.category(each) not in ("Cc", "Cs", "Zl", "Zp") for each in text)


def say(line: str, file: TextIO | None = None) -> None:
    """Prints a line and flushes it. If the stream is broken, for instance because `| head` has ended, nothing happens.

    Args:
        line: printed as it is. Text from elsewhere in it has to be escaped by `printable`.
        file: None: stdout.
    """
    with contextlib.suppress(OSError):
        print(line, file=file, flush=True)


def give_up_unprinted() -> None:
    """Drops what a broken stdout or stderr didn't take. Otherwise Python ends with an error message and status 120."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), stream.fileno())


def _escape(character: str) -> str:
    """The character as Python writes it in a string: \\n, \\x1b, \\u202e."""
    return character.encode("unicode_escape").decode()
