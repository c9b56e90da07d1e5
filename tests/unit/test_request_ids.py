"""The id of a request."""

from uuid import UUID

import pytest
from tensormask_server.request_ids import request_id


@pytest.mark.parametrize("sent", ["1", "0" * 128, "a/b:c=d;e", '{"a":"b"}', "\\"])
def test_the_clients_id_is_kept(sent: str) -> None:
    assert request_id(sent, "torchserve") == sent


@pytest.mark.parametrize("sent", ["", "0" * 129, "a b", "a\tb", "a\r\nb", "a\x1b[31m", "a\x7f", "é", "\u202e"])
def test_an_id_that_no_header_or_log_should_hold_is_replaced(sent: str) -> None:
    assert request_id(sent, "torchserve") == "torchserve"


def test_without_any_id_there_is_a_random_one() -> None:
    first, second = request_id(""), request_id("")
    assert first != second
    assert UUID(first).version == 4
