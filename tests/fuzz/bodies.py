"""Requests of every kind that the server knows, whole and spoiled."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st
from tensormask_server.option_table import OPTIONS as ALL_OPTIONS
from tensormask_server.requests.options import ALIASES

from tests.fuzz import images

BOUNDARY = "fuzz"
OPTIONS = (*ALL_OPTIONS, *ALIASES)
CONTENT_TYPES = (
    None,
    "application/json",
    "application/json; charset=utf-16",
    "application/octet-stream",
    "image/jpeg",
    "image/gif",
    "text/plain",
    "text/html; charset=latin-1",
    "application/x-www-form-urlencoded",
    f"multipart/form-data; boundary={BOUNDARY}",
    "multipart/form-data",
    "multipart/mixed; boundary=",
    "application/grpc",
    "*/*;;=",
)


@dataclass(frozen=True)
class Sent:
    """One request, for the parser or for a server."""

    kind: str  # for the table
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, bytes] | None = None  # instead of a body

    def fields(self) -> dict[str, Any]:
        """As TorchServe gives them to the handler."""
        said = {name: bytearray(value.encode()) for name, value in self.query.items()}
        if self.form is not None:
            return said | {name: bytearray(value) for name, value in self.form.items()}
        return said | {"body": bytearray(self.body)}

    def headers_read(self) -> dict[str, str]:
        """As TorchServe reads them: bytes as Latin-1."""
        return {name: value.encode().decode("latin-1") for name, value in self.headers.items()}

    def path(self, model: str) -> str:
        return f"/{model}/predict?{urlencode(self.query)}" if self.query else f"/predictions/{model}"

    def content(self) -> tuple[bytes, str | None]:
        """The body and its type, as they go over the wire."""
        if self.form is None:
            return self.body, self.content_type
        return multipart(self.form), f"multipart/form-data; boundary={BOUNDARY}"


def sent() -> st.SearchStrategy[Sent]:
    return st.one_of(*KINDS.values())


def multipart(form: Mapping[str, bytes]) -> bytes:
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n'
        % (BOUNDARY.encode(), name.encode(), value)
        for name, value in form.items()
    ]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY.encode()


# --- values -----------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
SPELT = (
    "0.5 -0 1e999 nan -inf １ 1_0 0x1 true null cat CAT,1 png torch coco polygons npz labelmap csv cutouts gif 0.25um "
    "fill none min-max , ,,0"
)
WORDS = st.sampled_from([*SPELT.split(" "), "", " 1 ", "9" * 400, "9" * 5000, "dog," * 50])
NUMBERS = st.sampled_from([0, 1, -1, 255, 256, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, 1e-320]) | st.integers()
LEAVES = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats()
    | WORDS
    | TEXTS
    | st.sampled_from(["\ud800", "\0", "a\udfff", "[", "{"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
SMALL_FILES = st.sampled_from([each for each in images.whole_files() if len(each) < 1000])
ENCODED = images.damaged(images.files()) | SMALL_FILES


@st.composite
def img_data(draw: st.DrawFn) -> Any:
    """Right, or right but for one place."""
    height, width, last = draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.booleans()))
    row = [draw(st.integers(0, 255))] * (3 if last else width)
    planes: Any = [[list(row) for _ in range(width if last else height)] for _ in range(height if last else 3)]
    if draw(st.booleans()):
        place = draw(st.integers(0, 2))
        node = planes
        for _ in range(place):
            node = node[draw(st.integers(0, len(node) - 1))]
        node[draw(st.integers(0, len(node) - 1))] = draw(VALUES)
    return planes


@st.composite
def base64_texts(draw: st.DrawFn) -> Any:
    text = base64.b64encode(draw(ENCODED)).decode()
    spoil = draw(st.sampled_from(["", "", "", "cut", "insert", "url", "data:", "b64", "spaces"]))
    place = draw(st.integers(0, len(text)))
    if spoil == "cut":
        return text[:place]
    if spoil == "insert":
        return text[:place] + draw(TEXTS) + text[place:]
    if spoil == "url":
        return text.replace("+", "-").replace("/", "_")
    if spoil == "data:":
        return draw(st.sampled_from(["data:image/png;base64,", "data:", "data:,", "data:text/html;base64,,"])) + text
    if spoil == "b64":
        return {"b64": draw(st.just(text) | VALUES)}
    return text.replace("A", "A\n") if spoil == "spaces" else text


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Any]:
    """KServe's, with a shape that may lie."""
    sides = st.integers(-1, 4) | st.sampled_from([10**5, 2**31, 2**63, 10**4000, 0.5, "1", None, [], True])
    shape = draw(st.lists(sides, max_size=5) | st.sampled_from([[1, 1, 3], [2, 1, 1, 3], [2, 2, 3]]) | VALUES)
    right = [7] * draw(st.sampled_from([3, 6, 12]))
    data = draw(
        st.just(right) | st.lists(base64_texts(), max_size=3) | st.lists(NUMBERS, max_size=12) | img_data() | VALUES
    )
    datatype = draw(st.sampled_from(["UINT8", "UINT8", "BYTES", "FP32", "", None, 8]))
    return {"name": "image", "datatype": datatype, "shape": shape, "data": data}


def options() -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(OPTIONS) | TEXTS, VALUES, max_size=4)


@st.composite
def objects(draw: st.DrawFn) -> Any:
    """What JSON bodies say, by their kinds."""
    image = draw(
        st.sampled_from(["image", "data", "img_data"]).flatmap(
            lambda key: st.fixed_dictionaries({key: img_data() if key == "img_data" else base64_texts()})
        )
    )
    kind = draw(st.sampled_from(["plain", "v1", "v2"]))
    if kind == "v1":
        image = {"instances": draw(st.lists(st.just(image) | base64_texts() | objects_inside(), max_size=4) | VALUES)}
    elif kind == "v2":
        inputs = draw(st.lists(tensors(), min_size=1, max_size=1) | st.lists(tensors(), max_size=2) | VALUES)
        return {"inputs": inputs, **draw(st.sampled_from([{}, {"id": "7"}])), **draw(_parameters())}
    return {**image, **draw(options() | st.just({}))}


def objects_inside() -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(["image", "img_data", "channel_order", *OPTIONS]), VALUES, max_size=3)


def _parameters() -> st.SearchStrategy[dict[str, Any]]:
    return st.just({}) | st.fixed_dictionaries({"parameters": options() | VALUES})


SPOILERS = 'NaN -Infinity 1e999 - . e 01 /* [ ] { } , : " "\\ud800" "image":1, "img_data":[], \0 \ufeff \u2028'
NOT_JSON = [*SPOILERS.split(" "), "9" * 400, "9" * 5000, "[" * 990, "[" * 2000]


@st.composite
def json_texts(draw: st.DrawFn) -> bytes:
    """As anything may write them, with what isn't JSON in between, and cut."""
    text = json.dumps(
        draw(objects() | VALUES), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        token = draw(st.sampled_from(NOT_JSON))
        text = text[:place] + token + text[place:] if draw(st.booleans()) else text[:place] + text[place + len(token) :]
    return text.encode(errors="surrogatepass")


AROUND = [
    b"%s",
    b'{"img_data":%s}',
    b'{"image":%s}',
    b'{"image":"","classes":%s}',
    b'{"instances":%s}',
    b'{"instances":[%s]}',
    b'{"inputs":%s}',
    b'{"inputs":[],"parameters":%s}',
    b'{"inputs":[{"datatype":"UINT8","shape":%s,"data":[1]}]}',
    b'{"inputs":[{"datatype":"UINT8","shape":[1,1,3],"data":%s}]}',
]


@st.composite
def nested(draw: st.DrawFn) -> bytes:
    """Deep, about as deep as Python and simdjson go."""
    depth = draw(st.integers(1, 40) | st.integers(960, 1040) | st.sampled_from([100_000]))
    start, end = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"image":', b"}]")]))
    value = start * depth + b"1" + end * draw(st.sampled_from([depth, depth - 1, 0]))
    return draw(st.sampled_from(AROUND)) % value


@st.composite
def reencoded(draw: st.DrawFn) -> bytes:
    """In another encoding, with a byte order mark, or compressed."""
    content = draw(json_texts() | ENCODED)
    text = content.decode("utf-8", "replace")
    how = draw(
        st.sampled_from(["utf-16", "utf-16-le", "utf-32-be", "latin-1", "utf-8-sig", "cp037", "gzip", "zlib", "nul"])
    )
    if how == "gzip":
        return gzip.compress(content, mtime=0)
    if how == "zlib":
        return zlib.compress(content)
    if how == "nul":
        return b"\0" + content
    return text.encode(how, "replace")


@st.composite
def image_with_options(draw: st.DrawFn) -> Sent:
    """Options in the query, in headers and in a form's fields."""
    texts = WORDS | TEXTS | LEAVES.map(str).filter(lambda text: text.isprintable())
    requested = st.dictionaries(st.sampled_from(OPTIONS) | TEXTS.filter(bool), texts, max_size=4)
    headers = st.dictionaries(
        st.sampled_from([*OPTIONS, "Score-Threshold", "X-FORMAT", "Max_Detections", "Accept", "describe", "Explain"]),
        WORDS.map(str.strip) | TEXTS.map(str.strip) | st.sampled_from(["image/png;q=0.1,*/*", "text/html", "True"]),
        max_size=4,
    )
    content = draw(SMALL_FILES | ENCODED | json_texts())
    place = draw(st.sampled_from(["query", "headers", "form", "all"]))
    said = {"headers": draw(headers)} if place in ("headers", "all") else {}
    query = draw(requested) if place in ("query", "all") else {}
    if place not in ("form", "all"):
        return Sent("options", content, "application/octet-stream", **said, query=query)
    names = st.sampled_from(["data", "body", "image", "file", "upload", "image[]", "data1", "file_2"])
    form = {name: value.encode(errors="replace") for name, value in draw(requested).items()}
    form |= dict.fromkeys(draw(st.lists(names, min_size=1, max_size=3)), content)
    return Sent("options", form={name.replace('"', "'"): value for name, value in form.items()}, **said, query=query)


@st.composite
def binary_tensors(draw: st.DrawFn) -> Sent:
    """KServe's binary extension: the tensor's bytes behind the JSON, with lengths that may lie."""
    files = draw(st.lists(ENCODED, max_size=3))
    elements = b"".join(struct.pack("<I", len(each)) + each for each in files)
    content = draw(st.just(elements) | images.damaged(st.just(elements)) | st.just(bytes(12)))
    size = draw(st.just(len(content)) | st.sampled_from([0, -1, 10**30, None, "12", True]))
    tensor = draw(st.just({"datatype": "BYTES", "shape": [-1]}) | st.just({"datatype": "UINT8", "shape": [-1, 2, 3]}))
    tensor |= draw(st.just({}) | tensors())
    tensor.pop(draw(st.sampled_from(["data", "name"])), None)
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()
    length = draw(st.just(str(len(head))) | st.sampled_from(["0", "-1", "1e1", "9" * 5000, "", str(len(head) - 1)]))
    headers = {"Inference-Header-Content-Length": length}
    return Sent("binary tensors", head + content, "application/octet-stream", headers)


@st.composite
def forms(draw: st.DrawFn) -> Sent:
    """Multipart bodies with something done to them."""
    whole = multipart(draw(st.dictionaries(st.sampled_from(["data", "format", "x", "classes"]), ENCODED, max_size=3)))
    kinds = st.sampled_from([kind for kind in CONTENT_TYPES if kind and ("multipart" in kind or "form" in kind)])
    return Sent("forms", draw(images.damaged(st.just(whole))), draw(kinds))


def _of(kind: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Sent]:
    return st.builds(Sent, st.just(kind), contents, st.sampled_from(CONTENT_TYPES[:8]))


KINDS: dict[str, st.SearchStrategy[Sent]] = {
    "images": _of("images", images.damaged(images.files())),
    "JSON, any": _of("JSON, any", objects().map(lambda tree: json.dumps(tree).encode())),
    "JSON, spoiled": _of("JSON, spoiled", json_texts()),
    "JSON, deep": _of("JSON, deep", nested()),
    "encodings": _of("encodings", reencoded()),
    "options": image_with_options(),
    "binary tensors": binary_tensors(),
    "forms": forms(),
    "wrong types": st.builds(
        Sent, st.just("wrong types"), ENCODED | json_texts() | st.binary(max_size=200), st.sampled_from(CONTENT_TYPES)
    ),
}
