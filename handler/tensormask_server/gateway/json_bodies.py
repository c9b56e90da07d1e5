"""Bodies in JSON, read whole for a route that looks into them. They have a limit before they become objects."""

import json
from typing import Any

from tensormask_server.gateway.errors import bad_request
from tensormask_server.printable import one_line, quoted

MOST_VALUES = 100_000  # of most routes; each takes some 60 bytes of memory, and may have two bytes of the body
SEPARATORS = (b",", b"[", b"{")  # each value but the first follows one of them, or the colon of a key


def json_object(content: bytes, most_values: int = MOST_VALUES) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        content: a request's body.
        most_values: that it may have.

    Raises:
        GatewayError: it is no JSON object, or one of more values: 400.
    """
    values = sum(map(content.count, SEPARATORS))
    if values > most_values:
        raise bad_request(f"the JSON has about {values} values", f"at most {most_values}")
    try:
        parsed = json.loads(content)
    except RecursionError:
        raise bad_request("the JSON is nested too deeply", "lists and objects in few levels") from None
    except ValueError as error:
        found = f"the body is not JSON: {one_line(error)}" if content else "the request has no body"
        raise bad_request(found, "a JSON object") from None
    if not isinstance(parsed, dict):
        raise bad_request(f"the JSON is {quoted(parsed, 60)}", "a JSON object")
    return parsed
