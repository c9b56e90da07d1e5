"""Image files in base64, as the encoders of several languages write them."""

import base64
import io
import subprocess
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensormask_server.bad_request import BadRequest
from tensormask_server.requests.base64_files import file_of_base64, unwrapped


def png() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 11, 3), np.uint8)).save(content, "PNG")
    return content.getvalue()


PNG = png()
GNU = subprocess.run(["base64"], input=PNG, capture_output=True, check=True).stdout.decode()
SPELLINGS = {
    "Python": base64.b64encode(PNG).decode(),
    "Python's encodebytes": base64.encodebytes(PNG).decode(),
    "GNU": GNU,
    "Android's default": GNU.replace("\n", "\n\n"),
    "Windows' line ends": GNU.replace("\n", "\r\n"),
    "an indented block": GNU.replace("\n", "\n    "),
    "URL-safe": base64.urlsafe_b64encode(PNG).decode(),
    "without padding": base64.urlsafe_b64encode(PNG).decode().rstrip("="),
    "a data: URL": f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
    "a data: URL with a name": f"data:image/png;name=a.png;base64,{base64.b64encode(PNG).decode()}",
    "a data: URL in capitals": f"DATA:IMAGE/PNG;BASE64,{base64.b64encode(PNG).decode()}",
    "an escaped data: URL": "data:image/png;base64," + quote(base64.encodebytes(PNG).decode(), safe=""),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_base64_is_read_as_its_encoders_write_it(name: str) -> None:
    assert file_of_base64(SPELLINGS[name]) == PNG
    assert unwrapped(SPELLINGS[name].encode()) == PNG


@given(content=st.binary(min_size=1, max_size=200), safe=st.booleans(), padded=st.booleans(), width=st.integers(1, 80))
def test_any_file_comes_back(content: bytes, safe: bool, padded: bool, width: int) -> None:
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(content).decode()
    text = text if padded else text.rstrip("=")
    lines = "\n".join(text[start : start + width] for start in range(0, len(text), width))
    assert file_of_base64(lines) == content


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_what_is_not_a_text_of_an_image_stays_as_it_is(content: bytes) -> None:
    try:
        assert unwrapped(content) == content
    except BadRequest:
        assert content.lstrip()[:5].lower() == b"data:"


WRONG = {
    "another character": ("AAA*", "is not base64"),
    "a letter beyond ASCII": ("AAAÄ", "is not base64"),
    "padding in the middle": ("AA==AAAA", "is not base64"),
    "one character too many": ("AAAAA", "not base64: 5 characters, so at least one is missing or too many"),
    "only spaces": (" \n", "is empty"),
    "only padding": ("==", "is empty"),
    "Python's bytes": (str(base64.b64encode(PNG)), "begins with b', as Python shows a bytes object"),
    "a data: URL of text": ("data:image/svg+xml,<svg/>", "a data: URL without base64"),
    "a data: URL without a file": ("data:image/png;base64,", "is empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    text, said = WRONG[name]
    with pytest.raises(BadRequest, match=said):
        file_of_base64(text)
