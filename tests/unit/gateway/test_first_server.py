"""The first server's JSON gets the order of its channels, wherever its first piece ends."""

import json

import pytest
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.first_server import in_bgr
from tensormask_server.gateway.segment import predict_target, split_query


@pytest.mark.parametrize("text", ['{"img_data": [1]}', ' \r\n\t{ "img_data" : [1]}', '\ufeff{\n"img_data": [1]\n}'])
def test_an_object_gets_the_order(text: str) -> None:
    assert json.loads(in_bgr(text.encode())) == {"channel_order": "BGR", "img_data": [1]}


def test_an_empty_object_stays() -> None:
    assert json.loads(in_bgr(b" {  } ")) == {}


@pytest.mark.parametrize("body", [b"", b"[1]", b"\xff\xd8\xff", b"img_data=1"])
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(GatewayError, match="body"):
        in_bgr(body)


def test_the_query_keeps_all_but_the_model() -> None:
    model, query = split_query(b"classes=a%26b&model=demo&classes=c&format=")
    assert (model, query) == ("demo", "classes=a%26b&classes=c&format=")
    assert predict_target("demo", query) == b"/demo/predict?classes=a%26b&classes=c&format="


def test_two_models_are_refused() -> None:
    with pytest.raises(GatewayError, match="2 models"):
        split_query(b"model=a&model=b")
