"""HTTP that no library would send."""

from collections.abc import Callable

from tests.fuzz.bodies import BOUNDARY


def _post(body: bytes, *headers: str, path: str = "/predictions/MODEL", length: object = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if length != "none":
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
PART = b'--fuzz\r\nContent-Disposition: form-data; name="data"\r\n\r\n{}\r\n'

REQUESTS: dict[str, Callable[[], bytes]] = {
    "form that never ends": lambda: _post(PART * 3, FORM),
    "form cut in a part's header": lambda: _post(PART + b"--fuzz\r\nContent-Dispos", FORM),
    "form without a boundary": lambda: _post(PART, "Content-Type: multipart/form-data"),
    "form with another boundary": lambda: _post(
        PART + b"--fuzz--\r\n", "Content-Type: multipart/form-data; boundary=x"
    ),
    "form with a part without a name": lambda: _post(b"--fuzz\r\n\r\n{}\r\n--fuzz--\r\n", FORM),
    "form of 20,000 parts": lambda: _post(PART * 20_000 + b"--fuzz--\r\n", FORM),
    "form in a form": lambda: _post(
        b'--fuzz\r\nContent-Disposition: form-data; name="data"\r\nContent-Type: multipart/mixed; boundary=fuzz\r\n\r\n'
        + PART
        + b"--fuzz--\r\n",
        FORM,
    ),
    "form with a charset that isn't one": lambda: _post(
        PART.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=nope\r\n\r\n", 1) + b"--fuzz--\r\n", FORM
    ),
    "form with a bad transfer encoding": lambda: _post(
        PART.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: nope\r\n\r\n", 1) + b"--fuzz--\r\n", FORM
    ),
    "urlencoded, not": lambda: _post(b"data=%zz&%=&&&=", "Content-Type: application/x-www-form-urlencoded"),
    "urlencoded, 100,000 fields": lambda: _post(
        b"&".join(b"a%d=1" % number for number in range(100_000)), "Content-Type: application/x-www-form-urlencoded"
    ),
    "less than its length": lambda: _post(b"{}", length=1000),
    "more than its length": lambda: _post(b"{}GET / HTTP/1.1\r\n\r\n", length=2),
    "a negative length": lambda: _post(b"{}", length=-1),
    "a length of letters": lambda: _post(b"{}", length="many"),
    "two lengths": lambda: _post(b"{}", "Content-Length: 7"),
    "no length": lambda: _post(b"{}", length="none"),
    "chunks, cut": lambda: _post(b"5\r\n{\r\n", "Transfer-Encoding: chunked", length="none"),
    "chunks of wrong sizes": lambda: _post(b"zz\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length="none"),
    "chunks and a length": lambda: _post(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "a header of 1 MB": lambda: _post(b"{}", f"X-Format: {'a' * 1_000_000}"),
    "10,000 headers": lambda: _post(b"{}", *(f"X-{number}: 1" for number in range(10_000))),
    "a header without a colon": lambda: _post(b"{}", "nonsense"),
    "a header of other bytes": lambda: _post(
        b"{}", "Format: \u20ac\udcff".encode("utf-8", "surrogateescape").decode("latin-1")
    ),
    "a path of 1 MB": lambda: _post(b"{}", path=f"/predictions/{'a' * 1_000_000}"),
    "a path with bad percents": lambda: _post(b"{}", path="/MODEL/predict?format=%zz&%&=&a=%ff"),
    "a query of 400 options": lambda: _post(b"{}", path=f"/MODEL/predict?{'&'.join(f'a{n}=1' for n in range(400))}"),
    "a path with dots": lambda: _post(b"{}", path="/predictions/../../MODEL"),
    "a path with a NUL": lambda: _post(b"{}", path="/predictions/MODEL\0"),
    "another version": lambda: _post(b"{}", path="/predictions/MODEL/99.9"),
    "another method": lambda: _post(b"{}").replace(b"POST", b"BREW", 1),
    "no HTTP": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "HTTP/2's beginning": lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "Expect: 100-continue": lambda: _post(b"{}", "Expect: 100-continue"),
    "Expect: the impossible": lambda: _post(b"{}", "Expect: tea"),
    "Content-Encoding: gzip": lambda: _post(b"{}", "Content-Encoding: gzip"),
}
