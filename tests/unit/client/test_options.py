"""The client has the server's options, by the same names and with the same values."""

import argparse

import pytest
from tensormask_server import PredictionOptions
from tensormask_server.client.options import ARGUMENTS, Options, add_options, option_headers, options_of
from tensormask_server.images.options import ImageOptions
from tensormask_server.option_table import OPTIONS
from tensormask_server.requests.options import options_of_headers, parse_options
from tensormask_server.responses.options import ResponseOptions

CLASSES = ("cat", "dog", "hot dog")


def parsed(*arguments: str) -> Options:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return options_of(parser.parse_args(arguments))


def test_the_client_has_every_option_of_the_server() -> None:
    assert set(Options.__annotations__) == set(OPTIONS) - {"format"} == {*ARGUMENTS, "image_id", "file_name"}


def test_the_server_reads_the_options_that_the_command_line_has() -> None:
    options = parsed(
        "--score-threshold", "0.25", "--classes", "hot dog,0", "--max-detections", "3", "--stretch", "none"
    )
    requested = parse_options(options_of_headers(option_headers(options)), CLASSES)
    assert requested.prediction == PredictionOptions(score_threshold=0.25, classes=(0, 2), max_detections=3)
    assert requested.image == ImageOptions(stretch="none")
    assert requested.response == ResponseOptions(format="coco")


def test_options_that_are_left_out_are_not_sent() -> None:
    assert option_headers(parsed()) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nms-threshold", "1.5"), "argument --nms-threshold: '1.5' is not a number from 0 to 1"),
        (("--max-detections", "-1"), "argument --max-detections: '-1' is not a whole number, 0 or more"),
    ],
)
def test_a_value_out_of_range_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(*arguments)
    assert message in capsys.readouterr().err
