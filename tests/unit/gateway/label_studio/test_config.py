"""Labelling configurations of Label Studio, and how their labels meet the classes of a network."""

import pytest
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.label_studio.config import LARGEST, Control, Label, read_config
from tensormask_server.gateway.label_studio.labels import labellings, unmatched

from tests.pages import ROOT, blocks

CLASSES = ("person", "sports ball", "traffic light", "Hund")
IMAGE = '<Image name="photo" value="$url"/>'


def config(*tags: str) -> str:
    return f"<View>{IMAGE}{''.join(tags)}</View>"


def brush(labels: str, attributes: str = "") -> str:
    return f'<BrushLabels name="mask" toName="photo" {attributes}>{labels}</BrushLabels>'


def test_a_configuration_says_tools_names_and_labels() -> None:
    text = config(
        '<Header value="Label!"/><RectangleLabels name="box" toName="photo"><Label value="car"/></RectangleLabels>',
        brush('<View><Label value="Person" background="red"/></View><Label value="ball" alias="b"/>'),
        '<Choices name="choice" toName="photo"><Choice value="good"/></Choices><Label value="outside"/>',
    )
    assert read_config(text) == [
        Control("brushlabels", "mask", "photo", "url", (Label("Person", ("Person",)), Label("b", ("ball", "b"))), None),
        Control("rectanglelabels", "box", "photo", "url", (Label("car", ("car",)),), None),
    ]


def test_predicted_values_replace_the_name_and_a_threshold_is_read() -> None:
    label = '<Label value="vehicle" predicted_values="car, traffic light,"/>'
    [control] = read_config(config(brush(label, 'model_score_threshold="0.25"')))
    assert control.labels == (Label("vehicle", ("car", "traffic light")),)
    assert control.score_threshold == 0.25


def test_the_case_of_tags_does_not_matter_and_order_neither() -> None:
    text = (
        '<VIEW><POLYGONLABELS name="p" toName="i"><LABEL value="x"/></POLYGONLABELS><IMAGE name="i" value="$k"/></VIEW>'
    )
    assert read_config(text) == [Control("polygonlabels", "p", "i", "k", (Label("x", ("x",)),), None)]


def test_a_control_of_two_images_stands_there_for_each() -> None:
    text = config('<Image name="b" value="$second"/>', brush('<Label value="x"/>').replace('"photo"', '"photo, b"'))
    assert [(each.image, each.key) for each in read_config(text)] == [("photo", "url"), ("b", "second")]


BOMB = '<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><View>&b;</View>'
FETCH = '<!DOCTYPE v SYSTEM "http://127.0.0.1:1/x.dtd"><View/>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is None"),
        (7, "is 7"),
        ("", "isn't XML"),
        ("<View>", "isn't XML"),
        ("<View>&nbsp;</View>", "isn't XML"),
        ("<View>\ud800</View>", "surrogate"),
        (BOMB, "document type"),
        (FETCH, "document type"),
        ("<View/>", "labels no image"),
        (config(), "labels no image"),
        (brush('<Label value="person"/>'), "labels no image"),
        (config().replace("$url", "https://elsewhere/x.png"), "labels no image"),
        ("x" * (LARGEST + 1), f"{LARGEST + 1} characters"),
        (config(brush("", 'model_score_threshold="2"')), "model_score_threshold"),
        (config(brush("", 'model_score_threshold="nan"')), "model_score_threshold"),
    ],
)
def test_what_is_no_such_configuration_is_a_400(text: object, said: str) -> None:
    with pytest.raises(GatewayError) as raised:
        read_config(text)
    assert raised.value.status == 400
    assert said in raised.value.error
    assert len(raised.value.error) < 500


def test_a_very_deep_configuration_is_read() -> None:
    deep = "<View>" * 100_000 + IMAGE + brush('<Label value="x"/>') + "</View>" * 100_000
    with pytest.raises(GatewayError, match="characters"):
        read_config(deep)
    assert len(read_config(deep.replace("View", "V"))) == 1


def test_labels_meet_classes_in_any_case_and_by_predicted_values() -> None:
    labels = '<Label value="PERSON"/><Label value="ball" predicted_values="Sports Ball,hund"/><Label value="unicorn"/>'
    controls = read_config(config(brush(labels)))
    [one] = labellings(controls, CLASSES)
    assert one.labels == {"person": "PERSON", "sports ball": "ball", "Hund": "ball"}
    assert one.classes == (0, 1, 3)
    assert unmatched(controls, CLASSES) == "'unicorn'"


def test_all_classes_need_no_numbers() -> None:
    [one] = labellings(read_config(config(brush('<Label value="thing" predicted_values="a,b"/>'))), ("a", "b"))
    assert one.classes == ()


def test_a_class_belongs_to_the_best_tool_only() -> None:
    rectangle = (
        '<RectangleLabels name="box" toName="photo"><Label value="person"/><Label value="Hund"/></RectangleLabels>'
    )
    found = labellings(read_config(config(rectangle, brush('<Label value="person"/>'))), CLASSES)
    assert [(each.control.tool, each.labels) for each in found] == [
        ("brushlabels", {"person": "person"}),
        ("rectanglelabels", {"Hund": "Hund"}),
    ]


def test_labels_that_are_no_classes_are_a_400_that_names_both() -> None:
    labels = "".join(f'<Label value="no {index}"/>' for index in range(50))
    with pytest.raises(GatewayError) as raised:
        labellings(read_config(config(brush(labels))), CLASSES)
    assert "'no 0'" in raised.value.error
    assert "and 30 others" in raised.value.error
    assert "'sports ball'" in raised.value.expected
    with pytest.raises(GatewayError, match="labels are none"):
        labellings(read_config(config(brush(""))), CLASSES)


def test_labels_count_for_each_image() -> None:
    labels = "".join(f'<Label value="{number}"/>' for number in range(1000))
    images = "".join(f'<Image name="{number}" value="$a"/>' for number in range(101))
    named = ",".join(map(str, range(101)))
    text = f'<View>{images}<BrushLabels name="m" toName="{named}">{labels}</BrushLabels></View>'
    with pytest.raises(GatewayError, match="too many labels"):
        read_config(text)
    assert len(read_config(text.replace(",100", ""))) == 100


def test_the_classes_of_a_label_count_for_each_image() -> None:
    """Each is compared with the network's. A megabyte of them, for as many images as fit, would take many minutes."""
    images = "".join(f'<Image name="{number}" value="$a"/>' for number in range(101))
    named = ",".join(map(str, range(101)))
    label = f'<Label value="x" predicted_values="{"a," * 1000}"/>'
    text = f'<View>{images}<BrushLabels name="m" toName="{named}">{label}</BrushLabels></View>'
    with pytest.raises(GatewayError, match="too many labels and predicted_values"):
        read_config(text)
    assert len(read_config(text.replace(",100", ""))) == 100


def test_an_image_that_is_named_again_is_one() -> None:
    assert len(read_config(config(brush('<Label value="x"/>').replace('"photo"', f'"{2000 * "photo,"}"')))) == 1


def test_many_tags_around_many_labels_take_no_more_time_each() -> None:
    around = 60_000
    text = config("<a>" * around + '<label value="x"/>' * 25_000 + "</a>" * around, brush('<Label value="x"/>'))
    assert [len(each.labels) for each in read_config(text)] == [1]  # a search through the tags would take minutes


def test_the_documentations_configuration_is_read() -> None:
    [text] = [each.text for each in blocks(ROOT / "docs/INTEGRATIONS.md") if each.language == "xml"]
    [control] = read_config(text)
    assert (control.tool, control.key) == ("brushlabels", "image")
    classes = (ROOT / "demo/model/classes.txt").read_text().splitlines()
    assert unmatched([control], classes) == ""
    assert len(labellings([control], classes)[0].labels) == 2
