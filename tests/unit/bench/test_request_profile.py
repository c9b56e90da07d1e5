"""The parts of a request, as the profile counts them."""

from tensormask_server.options import ENGINE_PRECISIONS
from tensormask_server.timing import Stopwatch

from bench.networks import demo_predictor
from bench.request_profile import PARTS, WAYS, _parts
from bench.whole_request import request_body


def test_each_part_is_measured_and_nothing_is_left_on_the_network() -> None:
    network = (predictor := demo_predictor()).network
    before = [list(vars(module)) for module in network.modules()]
    parts = _parts(predictor, request_body(96, 128), Stopwatch())
    assert parts.keys() >= PARTS.keys()
    assert all(parts[part] > 0 for part in PARTS)
    assert [list(vars(module)) for module in network.modules()] == before


def test_every_precision_has_a_row() -> None:
    assert {precision for precision, _ in WAYS.values()} == set(ENGINE_PRECISIONS["openvino"])
