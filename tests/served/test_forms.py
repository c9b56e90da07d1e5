"""Forms as browsers and clients send them: several images, repeated options, text for a file, no boundary."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from reference.cases import Case
from tests.served.conftest import Server
from tests.served.plain import plain_torchserve


@pytest.fixture(scope="module")
def image(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.fromarray(case.image).save(path)
    return path


def answered(server: Server, *arguments: object, path: str = "/predict", text: str = "") -> tuple[int, Any]:
    """The status and the JSON of what curl gets."""
    url = f"http://127.0.0.1:{server.ports[0]}/{server.name}{path}"
    command = ["curl", "-sS", "-w", "%{http_code}", *map(str, arguments), url]
    printed = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout.decode()
    return int(printed[-3:]), json.loads(printed[:-3])


def without_weights(content: dict[str, Any]) -> list[tuple[object, ...]]:
    """What tells instances apart. A batch of several images has other rounding errors in its scores."""
    return [(each["category_id"], each["segmentation"]["counts"]) for each in content["instances"]]


@pytest.mark.parametrize("names", [("data", "data"), ("image[]", "image[]"), ("image1", "image2"), ("file", "data")])
def test_several_images_of_a_form_are_predictions(server: Server, image: Path, names: tuple[str, str]) -> None:
    _, alone = answered(server, "-T", image)
    status, content = answered(server, *(word for name in names for word in ("-F", f"{name}=@{image}")))
    assert status == 200
    assert [without_weights(each) for each in content["predictions"]] == [without_weights(alone)] * 2


def classes_of(content: dict[str, Any]) -> set[str]:
    return {each["category_name"] for each in content["instances"]}


def check_repeated_fields(server: Server, image: Path) -> None:
    _, every = answered(server, "-T", image)
    first, second, *_ = sorted(classes_of(every))
    query = f"/predict?classes={quote(first)}&classes={quote(second)}"
    form = ("-F", f"data=@{image}", "-F", f"classes={first}", "-F", f"classes={second}")
    for arguments, path in (
        (("-T", image), query),
        (form, "/predict"),
        (form[:4], f"/predict?classes={quote(second)}"),
    ):
        status, content = answered(server, *arguments, path=path)
        assert status == 200
        assert classes_of(content) == {first, second}
    for arguments, path in (
        (("-T", image), "/predict?format=coco&format=polygons"),
        (("-F", f"data=@{image}", "-F", "format=coco", "-F", "format=coco"), "/predict"),
        (("-F", f"data=@{image}", "-F", "format=coco"), "/predict?format=coco"),
    ):
        status, content = answered(server, *arguments, path=path)
        assert (status, content["error"]) == (400, '"format" stands 2 times in the request')
    _, content = answered(server, "-F", f"data=@{image}", "-F", f"data=@{image}")
    assert len(content["predictions"]) == 2


def test_repeated_classes_are_a_list_and_other_repeats_an_error(server: Server, image: Path) -> None:
    check_repeated_fields(server, image)


def test_the_same_holds_with_torchserves_own_command(archive: Path, image: Path) -> None:
    with plain_torchserve(archive) as server:
        check_repeated_fields(server, image)


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
def test_a_forms_image_may_be_text(server: Server, image: Path, start: str) -> None:
    _, alone = answered(server, "-T", image)
    lines = start + base64.encodebytes(image.read_bytes()).decode()
    one_line = lines.replace("\n", "")
    for arguments, text in (
        (("-F", "image=<-"), lines),
        (("--data-urlencode", "image@-"), lines),
        (("--data-binary", "@-"), f"image={one_line}"),
        (("--data-binary", "@-", "-H", "Content-Type: text/plain"), lines),
    ):
        status, content = answered(server, *arguments, text=text)
        assert status == 200, content
        assert without_weights(content) == without_weights(alone)


def test_base64_that_torchserve_cuts_at_its_first_line_is_named(server: Server, image: Path) -> None:
    lines = base64.encodebytes(image.read_bytes()).decode()
    status, content = answered(server, "--data-binary", "@-", text=f"image={lines}")
    assert status == 400
    assert "only the part before a line break came through" in content["error"]


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("multipart/form-data", "the body is a form, and its Content-Type has no boundary"),
        ("application/json", "the body is a form, and its Content-Type says something else"),
        ("application/x-www-form-urlencoded", "the body is a form, and its Content-Type says something else"),
        ("multipart/form-data; boundary=other", "the form has no part with the boundary that its Content-Type names"),
    ],
)
def test_a_form_without_its_boundary_is_told_what_it_is(server: Server, content_type: str, said: str) -> None:
    form = '--abc\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\nABC\r\n--abc--\r\n'
    status, content = answered(server, "--data-binary", "@-", "-H", f"Content-Type: {content_type}", text=form)
    assert status == 400
    assert content["error"].startswith(said)
    assert "axios" in content["expected"]
