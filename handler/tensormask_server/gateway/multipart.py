"""Checks a form of the type multipart/form-data, piece by piece, as strictly as all readers agree on it.

Clients write such forms alike. What is refused here is read differently by different programs, or not at all.
"""

import re
from email.message import Message

from tensormask_server.gateway.errors import bad_request
from tensormask_server.printable import quoted

MOST_PARTS = 1000  # of a form; TorchServe is slow at more, and no request needs as many
MOST_HEADER_BYTES = 8192  # of one part
# Of one part, and of one header: Python's email takes long for more. A name can have a semicolon for each letter:
# pages in an old charset write "&#1060;".
MOST_HEADERS, MOST_SEMICOLONS = 16, 300
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
ENCODINGS = ("7bit", "8bit", "binary")
CHARSETS = ("utf-8", "us-ascii", "iso-8859-1")
LINE = b"\r\n"
OTHER_START = "the form doesn't begin with the boundary that its Content-Type names"
EXPECTED = "a form as curl -F data=@image.jpg, browsers and HTTP libraries write it, sent whole"


class MultipartCheck:
    """Follows the boundaries of a form, and reads the headers of its parts. It holds no more than a part's headers."""

    def __init__(self, boundary: bytes):
        """
        Args:
            boundary: as the request's Content-Type has it.
        """
        self._delimiter = b"--" + boundary
        self._buffer = LINE  # so that the first delimiter is at a line's start as well
        self._parts = 0
        self._is_in_data = True  # before the first delimiter nothing may come
        self._has_ended = False

    def feed(self, piece: bytes) -> None:
        """Checks the next piece.

        Raises:
            GatewayError: the form is broken, or has too many parts: 400.
        """
        self._buffer += piece
        while not self._has_ended and (self._pass_data() if self._is_in_data else self._pass_headers()):
            pass
        if self._has_ended:
            if self._buffer.strip(LINE):
                raise bad_request("something follows the form's end", EXPECTED)
            self._buffer = b""

    def close(self) -> None:
        """Checks the end.

        Raises:
            GatewayError: the form isn't whole: 400.
        """
        if not self._has_ended:
            raise bad_request("the form's last boundary is missing", EXPECTED)

    def _pass_data(self) -> bool:
        """Skips the data of a part, up to the delimiter. It returns whether the delimiter was there."""
        at = self._buffer.find(self._delimiter)
        if at < 0:
            self._skip(len(self._buffer) - len(self._delimiter) - len(LINE))
            return False
        end = at + len(self._delimiter) + len(LINE)
        if len(self._buffer) < end:
            self._skip(at - len(LINE))
            return False
        after = self._buffer[end - len(LINE) : end]
        if self._buffer[max(0, at - len(LINE)) : at] != LINE or after not in (LINE, b"--"):
            raise bad_request("the form's boundary stands within a line", EXPECTED)
        if self._parts == 0 and at > len(LINE):
            raise bad_request(OTHER_START, EXPECTED)
        self._buffer = self._buffer[end:]
        self._has_ended = after == b"--"
        self._is_in_data = False
        return True

    def _skip(self, size: int) -> None:
        if size > 0:
            if self._parts == 0:
                raise bad_request(OTHER_START, EXPECTED)
            self._buffer = self._buffer[size:]

    def _pass_headers(self) -> bool:
        """Checks the headers of a part. It returns whether they were whole."""
        end = self._buffer.find(LINE + LINE)
        if end > MOST_HEADER_BYTES or (end < 0 and len(self._buffer) > MOST_HEADER_BYTES):
            raise bad_request(f"a part of the form has headers of more than {MOST_HEADER_BYTES} bytes", EXPECTED)
        if end < 0:
            return False
        check_part(self._buffer[:end])
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise bad_request(f"the form has more than {MOST_PARTS} parts", EXPECTED)
        self._buffer = self._buffer[end + len(LINE) :]  # the second line's end may belong to the next delimiter
        self._is_in_data = True
        return True


def check_part(headers: bytes) -> None:
    """Checks the headers of one part.

    Args:
        headers: lines without the last line's end.

    Raises:
        GatewayError: TorchServe couldn't read them, or could read them as something else: 400.
    """
    found = Message()
    lines = headers.split(LINE)
    if len(lines) > MOST_HEADERS or any(line.count(b";") > MOST_SEMICOLONS for line in lines):
        raise bad_request(
            f"a part of the form has more than {MOST_HEADERS} headers, or one with more than {MOST_SEMICOLONS} "
            "semicolons",
            EXPECTED,
        )
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not NAME.fullmatch(name) or CONTROL.search(value):
            raise bad_request(f"a part of the form has the header {quoted(line[:60])}", EXPECTED)
        key = name.decode()
        if key in found:
            raise bad_request(f"a part of the form has the header {key} twice", EXPECTED)
        found[key] = value.decode("latin-1").strip()
    disposition = found.get("content-disposition", "")
    if found.get_content_disposition() != "form-data" or not found.get_param("name", header="content-disposition"):
        raise bad_request(
            f"a part of the form has the Content-Disposition {quoted(disposition)}",
            f'form-data with a name, such as: form-data; name="data"; {EXPECTED}',
        )
    if found.get_content_maintype() == "multipart":
        raise bad_request("a part of the form is a form itself", EXPECTED)
    charset = found.get_content_charset("utf-8")
    if charset not in CHARSETS:
        raise bad_request(f"a part of the form has the charset {quoted(charset)}", f"charset: {' or '.join(CHARSETS)}")
    encoding = found.get("content-transfer-encoding", "binary").lower()
    if encoding not in ENCODINGS:
        raise bad_request(
            f"a part of the form has the Content-Transfer-Encoding {quoted(encoding)}", " or ".join(ENCODINGS)
        )
    if not re.fullmatch("[0-9]{1,15}", found.get("content-length", "0")):
        raise bad_request("a part of the form has a Content-Length that is no number", EXPECTED)
