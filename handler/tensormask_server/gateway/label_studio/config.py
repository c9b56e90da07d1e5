"""Reads a project's labelling configuration of Label Studio: which tools label which image, with which labels.

Source: "Labeling configuration" and the tags Image, Label, BrushLabels, PolygonLabels and RectangleLabels in Label
Studio's documentation; `predicted_values` and `model_score_threshold` in its tutorial about YOLO.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from tensormask_server.gateway.errors import bad_request
from tensormask_server.printable import quoted

TOOLS = ("brushlabels", "polygonlabels", "rectanglelabels")  # the best first
LARGEST = 1 << 20  # characters; a thousand labels have a tenth of it
MOST_LABELS = 100_000  # classes of labels, of all controls together, each counted for each of its images
EXPECTED = "a labelling configuration with <Image> and <BrushLabels>, <PolygonLabels> or <RectangleLabels>"


@dataclass(frozen=True)
class Label:
    """A label, and the classes that it stands for."""

    name: str  # as results have it: the alias, if there is one
    classes: tuple[str, ...]  # names, in any letter case

    def folded_classes(self) -> list[str]:
        """The names as they are compared."""
        return [name.casefold() for name in self.classes]


@dataclass(frozen=True)
class Control:
    """A tag that labels regions of an image."""

    tool: str  # one of TOOLS, and the type of its results
    name: str  # `from_name` of its results
    image: str  # `to_name` of its results: the name of the image's tag
    key: str  # of the image's URL in a task's data
    labels: tuple[Label, ...]
    score_threshold: float | None  # None: the server's own


@dataclass
class _Open:
    """A control whose end hasn't come yet."""

    tool: str
    attributes: Mapping[str, str]
    labels: list[Label] = field(default_factory=list)


def read_config(text: object) -> list[Control]:
    """Reads a configuration.

    Args:
        text: the XML. An entity or a document type in it is refused.

    Returns:
        The controls for images, at least one, the best tools first. One for several images stands there for each.

    Raises:
        GatewayError: it isn't such a configuration: 400.
    """
    if not isinstance(text, str) or len(text) > LARGEST:
        found = f"{len(text)} characters" if isinstance(text, str) else quoted(text)
        raise bad_request(f"the labelling configuration is {found}", f"XML of at most {LARGEST} characters")
    reading = _Reading()
    try:
        reading.parse(text)
    except expat.ExpatError as error:
        raise bad_request(f"the labelling configuration isn't XML: {error}", EXPECTED) from error
    except UnicodeEncodeError as error:
        raise bad_request("the labelling configuration has half of a surrogate pair", EXPECTED) from error
    controls = reading.controls()
    if not controls:
        raise bad_request(f"the labelling configuration labels no image by {', '.join(TOOLS)}", EXPECTED)
    return sorted(controls, key=lambda control: TOOLS.index(control.tool))


class _Reading:
    """What has been read so far. Label Studio doesn't mind the case of tags."""

    def __init__(self) -> None:
        self._images: dict[str, str] = {}  # keys in a task's data, by the name of the tag
        self._inside: list[_Open | None] = []  # for each tag that hasn't ended, the control that it is or is in
        self._controls: list[_Open] = []

    def parse(self, text: str) -> None:
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _: self._inside.pop()
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.Parse(text.encode(), True)

    def controls(self) -> list[Control]:
        """The controls of images.

        Raises:
            GatewayError: they have too many labels together, or a threshold is wrong: 400.
        """
        found = []
        room = MOST_LABELS
        for each in self._controls:
            names = dict.fromkeys(map(str.strip, each.attributes.get("toName", "").split(",")))
            images = [name for name in names if name in self._images]
            room -= len(images) * max(1, sum(len(label.classes) for label in each.labels))
            if room < 0:
                raise bad_request(
                    "the labelling configuration has too many labels and predicted_values, each counted for each image",
                    f"at most {MOST_LABELS}",
                )
            labels, threshold = tuple(each.labels), _threshold(each.attributes)
            name = each.attributes.get("name", "")
            found += [Control(each.tool, name, image, self._images[image], labels, threshold) for image in images]
        return found

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        lower = tag.lower()
        around = self._inside[-1] if self._inside else None
        opened = _Open(lower, attributes) if lower in TOOLS else None
        if opened is not None:
            self._controls.append(opened)
        elif lower == "image":
            value = attributes.get("value", "")
            if value.startswith("$"):
                self._images[attributes.get("name", "")] = value[1:]
        elif lower == "label" and around is not None and (label := _label(attributes)):
            around.labels.append(label)
        self._inside.append(opened or around)


def _label(attributes: Mapping[str, str]) -> Label | None:
    value, alias = attributes.get("value", "").strip(), attributes.get("alias", "").strip()
    predicted = [name.strip() for name in attributes.get("predicted_values", "").split(",")]
    classes = tuple(filter(None, predicted)) or tuple(filter(None, (value, alias)))
    return Label(alias or value, classes) if alias or value else None


def _threshold(attributes: Mapping[str, str]) -> float | None:
    text = attributes.get("model_score_threshold")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:  # NaN is refused, too
        raise bad_request(
            f"model_score_threshold is {quoted(text)} in the labelling configuration", "a number from 0 to 1"
        )
    return value


def _refuse_doctype(*_: object) -> None:
    raise bad_request("the labelling configuration has a document type", f"{EXPECTED}, without <!DOCTYPE>")
