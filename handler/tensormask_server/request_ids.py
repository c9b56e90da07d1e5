"""The id of a request: the client's own, which the response repeats and the log of requests names."""

import re
from uuid import uuid4

HEADER = "X-Request-ID"
# visible ASCII characters, so that an id can stand in a header and in a log
ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(sent: str, default: str = "") -> str:
    """The id of a request.

    Args:
        sent: the request's header HEADER; "": it has none.
        default: the id that the web server has given the request. "": it hasn't.

    Returns:
        The client's id if it can be repeated; otherwise the default, or a random one.
    """
    return sent if ID.fullmatch(sent) else default or str(uuid4())
