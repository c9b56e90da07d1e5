"""From the options of archive.sh and tensormask-server to those of the archive."""

import argparse
from pathlib import Path

import pytest
from tensormask_server.archive.arguments import add_archive_arguments, archive_request
from tensormask_server.archive.errors import ArchiveError
from tensormask_server.options import HandlerOptions

ROOT = Path(__file__).parents[3]


MODEL = ("-cp", str(ROOT / "demo/model/config.yaml"), "-tp", str(ROOT / "demo/model/weights.pkl"))


def options_of(*arguments: str, model: tuple[str, ...] = MODEL) -> HandlerOptions:
    parser = argparse.ArgumentParser()
    add_archive_arguments(parser)
    parsed = parser.parse_args([*model, *arguments])
    parsed.threshold, parsed.output = 0.5, Path("model_store")
    return archive_request(parsed).options


def test_there_are_no_tiles_by_default() -> None:
    assert options_of() == HandlerOptions()
    assert HandlerOptions().tile_size is None


def test_an_archive_has_the_options_of_tiles() -> None:
    options = options_of("--tile-size", "auto", "--tile-overlap", "0.3", "--no-tile-whole", "--max-tiles", "9")
    assert (options.tile_size, options.tile_overlap, options.tile_whole) == ("auto", 0.3, False)
    assert options.limits.max_tiles == 9
    assert options_of("--tile-size", "384").tile_size == 384


def test_a_model_by_its_name_says_what_it_knows() -> None:
    demo = ("--model", "demo")
    assert options_of(model=demo).about == "20 kinds of drawings (emoji), and no photographs"
    assert options_of("--about", "cells", model=demo).about == "cells"
    assert options_of("--about", "", model=demo).about == ""
    assert options_of("--about", "two kinds of cells").about == "two kinds of cells"
    with pytest.raises(ArchiveError, match="--about is"):
        options_of("--about", "two\nlines")


def test_a_model_by_its_name_brings_its_samples() -> None:
    parser = argparse.ArgumentParser()
    add_archive_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path())
    assert archive_request(parser.parse_args(["--model", "demo"])).samples == ROOT / "demo" / "model" / "samples"
    own = archive_request(parser.parse_args(["--model", "demo", "--samples", "mine"]))
    assert own.samples == Path("mine")
    assert archive_request(parser.parse_args([*MODEL])).samples is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tile-size", "8"), "'8' is not auto, or a whole number of pixels, 32 or more"),
        (("--tile-size", "atuo"), "did you mean auto?"),
        (("--tile-overlap", "20"), "'20' is not a number from 0 to 0.9 (did you mean 0.2?)"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options_of(*arguments)
    assert message in capsys.readouterr().err


def test_openvino_is_for_cpus_and_int8_needs_images(tmp_path: Path) -> None:
    assert options_of("--engine", "openvino").device == "cpu"
    for arguments in (("--precision", "int8"), ("--calibrate", str(tmp_path))):
        with pytest.raises(ArchiveError, match=r"--calibrate is .*; expected a folder of images with --precision int8"):
            options_of("--engine", "openvino", *arguments)
    with pytest.raises(ArchiveError, match=r"float16 with the --engine native, or the --engine openvino$"):
        options_of("--precision", "int8", "--calibrate", str(tmp_path))
