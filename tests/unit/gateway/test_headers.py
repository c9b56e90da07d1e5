"""Which headers a gateway passes on."""

from tensormask_server.gateway.headers import request_headers, response_headers


def test_headers_of_the_connection_and_of_the_framing_stay_behind() -> None:
    sent = [
        (b"Host", b"a"),
        (b"Connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"content-length", b"3"),
        (b"expect", b"100-continue"),
        (b"X-Request-ID", b"theirs"),
        (b"Authorization", b"Bearer k"),
        (b"score-threshold", b"0.3"),
    ]
    expected = [(b"authorization", b"Bearer k"), (b"score-threshold", b"0.3"), (b"x-request-id", b"ours")]
    assert request_headers(sent, "ours") == expected


def test_a_response_keeps_its_length_and_loses_the_servers_own_cors() -> None:
    came = [(b"Content-Length", b"3"), (b"Access-Control-Allow-Origin", b"*"), (b"Keep-Alive", b"5"), (b"X-A", b"1")]
    assert response_headers(came) == [(b"content-length", b"3"), (b"x-a", b"1")]
