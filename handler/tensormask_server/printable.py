"""Text from files, servers and requests, made safe to show on a terminal or in a log.

Such text can hold escape sequences that rewrite the terminal, line ends that forge further log lines, or a megabyte.
"""

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


def _escape(character: str) -> str:
    """As Python writes it in a string: \\n, \\x1b, \\u202e."""
    return character.encode("unicode_escape").decode()
