"""Images are fetched from the one Label Studio only, whatever a task or that Label Studio says."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.label_studio import images as label_studio_images
from tensormask_server.gateway.label_studio.images import LabelStudioImages
from tensormask_server.gateway.settings import Settings
from tensormask_server.gateway.whole_bodies import WholeBodies

FILE = b"\x89PNG and so on"
PERSONAL = "header.payload.signature"
MOST = 1000  # bytes of an image


@dataclass
class Host:
    """What stands in Label Studio's place, and the requests that it got."""

    url: str
    got: list[tuple[str, str | None]] = field(default_factory=list)  # path and Authorization
    access: str = "first"  # the access token that is valid
    never: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def other() -> Iterator[Host]:
    yield from hosts()


@pytest.fixture
def host() -> Iterator[Host]:
    yield from hosts()


def hosts() -> Iterator[Host]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            own.got.append((self.path, self.headers.get("Authorization")))
            name = self.path.rpartition("/")[2]
            if self.path == "/private/x.png":
                valid = self.headers.get("Authorization") == f"Bearer {own.access}"
                self.answer(*((200, FILE) if valid else (401, b"{}")))
            elif name.isdecimal():
                self.answer(int(name), b"no")
            elif name.startswith("to="):
                self.answer(302, b"", Location=base64.urlsafe_b64decode(name[3:]).decode())
            elif name == "round":
                self.answer(302, b"", Location=self.path)
            elif name == "page":
                self.answer(200, b"<html>", **{"Content-Type": "text/html; charset=utf-8"})
            elif name == "large":
                self.answer(200, b"x" * (MOST + 1))
            elif name == "slow":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"x")
                own.never.wait()
            elif name == "broken":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"x")
                self.close_connection = True
            else:
                self.answer(200, FILE)

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            own.got.append((self.path, sent["refresh"]))
            self.answer(
                *((200, json.dumps({"access": own.access}).encode()) if sent["refresh"] == PERSONAL else (401, b"{}"))
            )

        def answer(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        own = Host(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield own
        finally:
            own.never.set()
            server.shutdown()


def images_of(url: str, token: str = "") -> LabelStudioImages:
    settings = Settings(max_body_bytes=MOST, label_studio=url, label_studio_token=token)
    return LabelStudioImages(settings, WholeBodies(4 * MOST))


def read(images: LabelStudioImages, *locations: object, task: object = 7) -> list[bytes]:
    async def all_of_them() -> list[bytes]:
        found = []
        async with images.session() as transport:
            for location in locations:
                async with images.read(transport, location, task) as content:
                    found.append(content)
        return found

    return asyncio.run(all_of_them())


def failure(images: LabelStudioImages, location: object, task: object = 7) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        read(images, location, task=task)
    return raised.value


def redirecting(url: str) -> str:
    return f"/data/to={base64.urlsafe_b64encode(url.encode()).decode()}"


def test_paths_and_urls_of_label_studio_are_fetched(host: Host) -> None:
    locations = ["/data/upload/1/a b.png", f"{host.url}/data/é.png?x=1", redirecting("/data/x.png")]
    assert read(images_of(host.url), *locations) == [FILE] * 3
    assert [path for path, _ in host.got] == [
        "/data/upload/1/a%20b.png",
        "/data/%C3%A9.png?x=1",
        redirecting("/data/x.png"),
        "/data/x.png",
    ]
    assert {token for _, token in host.got} == {None}


def test_a_label_studio_below_a_path_is_asked_there(host: Host) -> None:
    images = images_of(f"{host.url}/annotate")
    read(images, "/data/x.png", "/annotate/data/x.png", "s3://bucket/x.png")
    file = base64.urlsafe_b64encode(b"s3://bucket/x.png").decode()
    assert [path for path, _ in host.got] == [
        "/annotate/data/x.png",
        "/annotate/data/x.png",
        f"/annotate/tasks/7/resolve/?fileuri={file}",
    ]


def test_a_data_url_is_not_fetched() -> None:
    assert read(images_of(""), "data:image/png;base64,AAAA") == [b"data:image/png;base64,AAAA"]


@pytest.mark.parametrize(
    "location",
    [
        "{other}/x.png",
        "//{netloc}/x.png",
        "http://127.0.0.1@{netloc}/x.png",
        "https://127.0.0.1/x.png",
        "http://localhost/x.png",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x.png",
        "x.png",
        "C:\\x.png",
        "",
        None,
        ["/x.png"],
        {"url": "/x.png"},
        "http://[/x.png",
        "/data/\x00.png",
        "/" + "x" * 100_000,
        "s3://bucket/" + "x" * 100_000,
    ],
)
def test_nothing_is_fetched_from_elsewhere(host: Host, other: Host, location: object) -> None:
    if isinstance(location, str):
        location = location.format(other=other.url, netloc=other.url.removeprefix("http://"))
    error = failure(images_of(host.url, "secret"), location)
    assert error.status == 400
    assert "secret" not in f"{error.error} {error.expected}"
    assert host.got == other.got == []


@pytest.mark.parametrize("start", ["{other}", "//{netloc}", "https://127.0.0.1", "file://"])
def test_redirects_to_elsewhere_are_not_followed(host: Host, other: Host, start: str) -> None:
    away = f"{start.format(other=other.url, netloc=other.url.removeprefix('http://'))}/x.png?signature=secret"
    error = failure(images_of(host.url), redirecting(away))
    assert error.status == 502
    assert "Label Studio redirects to" in error.error
    assert "pre-signed" in error.expected
    assert "secret" not in error.error
    assert other.got == []


def test_redirects_without_end_are_given_up(host: Host) -> None:
    assert "status 302" in failure(images_of(host.url), "/data/round").error
    assert len(host.got) == 4


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/data/500", "status 500"),
        ("/data/403", "status 403"),
        ("/data/404", "no such file"),
        ("/data/204", "status 204"),
        ("/data/302", "status 302"),
        ("/data/304", "status 304"),
        ("/data/page", "a page"),
        ("/data/large", f"more than {MOST} bytes"),
        ("/data/broken", "breaks off"),
    ],
)
def test_what_is_no_image_is_a_502(host: Host, path: str, said: str) -> None:
    images = images_of(host.url)
    error = failure(images, path)
    assert error.status == 502
    assert said in error.error
    assert read(images, *["/data/x.png"] * 10) == [FILE] * 10  # and no bytes are held any more


def test_a_label_studio_that_hangs_or_is_not_there(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_studio_images, "SECONDS", 0.2)
    assert failure(images_of(host.url), "/data/slow").status == 504
    assert failure(images_of("http://127.0.0.1:1"), "/data/x.png").status == 502


def test_without_the_option_the_error_names_it() -> None:
    error = failure(images_of(""), "/data/x.png")
    assert error.status == 400
    assert "--label-studio URL" in error.expected


@pytest.mark.parametrize("task", [None, "7/../../x", 1.5, True])
def test_a_file_of_a_storage_needs_the_tasks_number(host: Host, task: object) -> None:
    assert "id" in failure(images_of(host.url), "s3://bucket/x.png", task).error
    assert host.got == []


def test_a_legacy_token_is_sent_as_it_is(host: Host) -> None:
    read(images_of(host.url, "0123abcd"), "/data/x.png")
    assert host.got == [("/data/x.png", "Token 0123abcd")]


def test_a_personal_token_becomes_access_tokens(host: Host) -> None:
    images = images_of(host.url, PERSONAL)
    assert read(images, "/private/x.png", "/private/x.png") == [FILE] * 2
    host.access = "second"  # the first one has ended
    assert read(images, "/private/x.png") == [FILE]
    assert host.got == [
        ("/api/token/refresh", PERSONAL),
        ("/private/x.png", "Bearer first"),
        ("/private/x.png", "Bearer first"),
        ("/private/x.png", "Bearer first"),
        ("/api/token/refresh", PERSONAL),
        ("/private/x.png", "Bearer second"),
    ]


def test_images_that_come_together_share_an_access_token(host: Host) -> None:
    images = images_of(host.url, PERSONAL)

    async def all_together() -> list[bytes]:
        async with images.session() as transport:

            async def one() -> bytes:
                async with images.read(transport, "/private/x.png", 7) as content:
                    return content

            found = await asyncio.gather(*(one() for _ in range(4)))
            host.access = "second"  # the first one has ended
            return found + await asyncio.gather(*(one() for _ in range(4)))

    assert asyncio.run(all_together()) == [FILE] * 8
    assert host.got.count(("/api/token/refresh", PERSONAL)) == 2


@pytest.mark.parametrize("token", ["", "0123abcd", "an.other.one"])
def test_a_wrong_token_is_said(host: Host, token: str) -> None:
    error = failure(images_of(host.url, token), "/private/x.png")
    assert error.status == 502
    assert "401" in error.error
    assert "LABEL_STUDIO_API_KEY" in error.expected
    assert token == "" or token not in f"{error.error} {error.expected}"
