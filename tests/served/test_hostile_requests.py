"""Whatever a client sends, the server says what was wrong with it, and goes on with the same worker."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import bodies, promise, wire
from tests.fuzz.large_bodies import LARGE_BODIES
from tests.served.conftest import Server

pytestmark = [pytest.mark.extensive, pytest.mark.attack(0, "bodies, images and options that mean ill")]

# the ones that cost a server most, in bytes, in time or in memory
LARGE = (
    "TIFF of a tile of 32,768²",
    "JPEG of 50,000 scans",
    "JPEG of 66 MB of tables",
    "WebP of 8 million chunks",
    "GIF of 66 MB of comment",
    "BMP of 33 million empty rows",
    "instances, 8 of 3000²",
    "lists, 10 million",
)
# small images with much beside their pixels
READABLE = tuple(name for name in LARGE_BODIES if "readable" in name)


@pytest.mark.parametrize("kind", bodies.KINDS)
def test_any_request_gets_results_or_an_error_with_a_reason(server: Server, kind: str) -> None:
    before = server.worker_pids()

    @settings(max_examples=5, suppress_health_check=list(HealthCheck))
    @given(sent=bodies.KINDS[kind])
    def holds(sent: bodies.Sent) -> None:
        promise.outcome(server, sent)

    holds()
    assert server.worker_pids() == before


@pytest.mark.parametrize("name", LARGE)
def test_a_small_body_that_requests_far_more_is_refused(server: Server, name: str) -> None:
    before = server.worker_pids()
    assert promise.outcome(server, bodies.Sent(name, LARGE_BODIES[name]())) == "400"
    assert server.worker_pids() == before


@pytest.mark.parametrize("name", READABLE)
def test_much_beside_the_pixels_of_a_small_image_costs_nothing(server: Server, name: str) -> None:
    before = server.worker_pids()
    assert promise.outcome(server, bodies.Sent(name, LARGE_BODIES[name]())) == "200"
    assert server.worker_pids() == before


def test_http_that_no_library_would_send_costs_nobody_anything(server: Server) -> None:
    before = server.worker_pids()
    for name, make in wire.REQUESTS.items():
        promise.exchanged(server, make().replace(b"MODEL", server.name.encode()), patience=0.05)
        assert promise.outcome(server, bodies.Sent(name, b"{}")) == "400"
    assert server.worker_pids() == before
