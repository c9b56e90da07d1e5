"""config.properties: keys that TorchServe doesn't know are refused, since it ignores them without a message."""

import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensormask_server.torchserve.properties import PropertiesError, read_properties, requires_tokens, write_properties
from tensormask_server.torchserve.property_keys import KNOWN_KEYS

OF_THE_WRAPPER = {"vmargs", "plugins_path"}  # which TorchServe's Python command reads, not its Java
WITHOUT_UNDERSCORE = {"keystore", "models", "python"}


def keys_in_torchserve() -> set[str]:
    """The strings of TorchServe's class for its configuration that look like keys."""
    spec = find_spec("ts")
    assert spec is not None and spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "frontend" / "model-server.jar") as jar:
        content = jar.read("org/pytorch/serve/util/ConfigManager.class")
    # a string in a class file has a tag, two bytes of length, and its bytes
    strings = {
        content[at.start() + 3 : at.start() + 3 + int.from_bytes(at[1])]
        for at in re.finditer(rb"(?s)(?=\x01(..))", content)
        if int.from_bytes(at[1]) < 100
    }
    return {each.decode() for each in strings if re.fullmatch(rb"[a-z]+(_[a-z]+)+", each) or each in _plain()}


def _plain() -> set[bytes]:
    return {each.encode() for each in WITHOUT_UNDERSCORE}


def test_the_known_keys_are_those_that_torchserve_reads() -> None:
    values_of_headers = {"ts_request_sequence_id", "ts_request_sequence_start", "ts_request_sequence_end"}
    assert keys_in_torchserve() - values_of_headers == KNOWN_KEYS - OF_THE_WRAPPER


def test_a_misspelt_key_is_reported_with_the_one_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "own.properties"
    path.write_text("job_queue_size=5\ndisable_token_authorisation=false\n")
    with pytest.raises(PropertiesError) as caught:
        read_properties(path)
    said = "has the key 'disable_token_authorisation', which TorchServe doesn't know"
    assert f"{said} (did you mean disable_token_authorization?); expected keys of" in str(caught.value)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    properties = {"model_store": "store", "vmargs": "-Xmx1g -Da=b"}
    write_properties(tmp_path / "config.properties", properties)
    assert read_properties(tmp_path / "config.properties") == properties


@pytest.mark.parametrize(("value", "wanted"), [("false", True), ("true", False), ("TRUE", False), ("", True)])
def test_tokens_are_off_where_java_reads_it_so(value: str, wanted: bool) -> None:
    assert requires_tokens({"disable_token_authorization": value}) is wanted
