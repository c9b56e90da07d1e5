"""Text from files, servers and requests, made safe to show on a terminal or in a log.

Such text can hold escape sequences that rewrite the terminal, line ends that forge further log lines, or a megabyte.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import TextIO

LINE = 1000  # bytes of a whole message
VALUE = 200  # bytes of one value in a message, so that a long value doesn't hide the rest of the sentence


def printable(value: object, limit: int = VALUE) -> str:
    """Escapes what a terminal or a log wouldn't show as itself, and cuts what is long.

    Escaped are control characters, line ends and separators, characters that change the direction of text or have no
    width, and bytes of file names that aren't UTF-8. Text that is printable already stays as it is.

    Args:
        value: a string, or anything that `str` takes, such as a path.
        limit: bytes of the result as UTF-8; at least 20.

    Returns:
        One line. Where it was cut, "…" stands in its middle, so that the end of a path or of a sentence stays.
    """
    text = str(value)
    if len(text) > 2 * limit:  # no more is needed of either end
        text = text[:limit] + text[-limit:]
    escaped = "".join(each if each.isprintable() else _escape(each) for each in text)
    content = escaped.encode()
    if len(content) <= limit:
        return escaped
    kept = limit - len("…".encode())
    start, end = content[: kept - kept // 3], content[len(content) - kept // 3 :]
    return f"{start.decode(errors='ignore')}…{end.decode(errors='ignore')}"


def one_line(message: object, limit: int = LINE) -> str:
    """An error's message on one line: line ends and runs of spaces become a space, the rest as in `printable`.

    Args:
        message: an exception, or anything that `str` takes.
        limit: bytes of the result as UTF-8; at least 20.
    """
    text = str(message)
    if len(text) > 4 * limit:  # `split` would take the time and memory of the whole
        text = f"{text[: 2 * limit]}…{text[-2 * limit :]}"
    return printable(" ".join(text.split()), limit)


def quoted(value: object, limit: int = VALUE) -> str:
    """A value as Python writes it, with a string's quotation marks, escaped and cut as by `printable`."""
    try:
        return printable(repr(value), limit)
    except (ValueError, RecursionError):  # a whole number of more digits than Python writes; a list within itself
        return f"a {type(value).__name__} that is too large to show"


def say(line: str, file: TextIO | None = None) -> None:
    """Prints a line at once. Where the stream is broken, as before a `head` that has ended, the program goes on.

    Args:
        line: as it is: `printable` has escaped what comes from elsewhere.
        file: None: stdout.
    """
    with contextlib.suppress(OSError):
        print(line, file=file, flush=True)


def give_up_unprinted() -> None:
    """Drops what a broken stdout or stderr didn't take: otherwise Python reports it when it exits, with status 120."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), stream.fileno())


def _escape(character: str) -> str:
    """As Python writes it in a string: \\n, \\x1b, \\u202e."""
    return character.encode("unicode_escape").decode()
