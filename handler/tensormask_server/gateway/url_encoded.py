"""Checks a form of the type application/x-www-form-urlencoded, piece by piece."""

import re

from tensormask_server.gateway.errors import bad_request
from tensormask_server.gateway.multipart import MOST_PARTS

ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # line ends and tabs are in base64 that isn't escaped
EXPECTED = (
    "curl -T image.jpg, or curl -F data=@image.jpg for a form, or for JSON curl -H 'Content-Type: application/json' "
    "--data-binary @image.json (curl -d says that the body is such a form)"
)


class UrlEncodedCheck:
    """Counts fields and looks for what no such form has."""

    def __init__(self) -> None:
        self._fields = 1
        self._rest = b""  # the start of an escape whose end is in the next piece

    def feed(self, piece: bytes) -> None:
        """Checks the next piece.

        Raises:
            GatewayError: the form is broken, or has too many fields: 400.
        """
        content = self._rest + piece
        cut = content.rfind(b"%", max(0, len(content) - 2))
        content, self._rest = (content, b"") if cut < 0 else (content[:cut], content[cut:])
        if CONTROL.search(content):
            raise bad_request("the body is no form, and its Content-Type says that it is one", EXPECTED)
        if ESCAPE.search(content):
            raise bad_request("the form has a % without two hexadecimal digits after it", EXPECTED)
        self._fields += content.count(b"&") + content.count(b";")
        if self._fields > MOST_PARTS:
            raise bad_request(f"the form has more than {MOST_PARTS} fields", EXPECTED)

    def close(self) -> None:
        """Checks the end.

        Raises:
            GatewayError: the form ends within an escape: 400.
        """
        if self._rest and ESCAPE.search(self._rest):
            raise bad_request("the form has a % without two hexadecimal digits after it", EXPECTED)
