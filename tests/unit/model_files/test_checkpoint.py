"""Weight files of every format in use are read as the same named tensors, and broken ones are refused by their name."""

import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tensormask_server.model_files.checkpoint import CheckpointError, load_checkpoint

ARRAYS = {
    "head.bbox_pred.weight": np.arange(-12, 12, dtype=np.float32).reshape(2, 3, 4) / 8,
    "head.bbox_pred.bias": np.array([0.5, -2.0], dtype=np.float32),
}
TENSORS = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


def write_pkl(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def assert_read_as_arrays(path: Path) -> None:
    entries = load_checkpoint(path)
    assert sorted(entries) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert entries[name].dtype == torch.float32
        assert torch.equal(entries[name], torch.from_numpy(array))


# --- .pkl -------------------------------------------------------------------------------------------------------------


def transposed(array: np.ndarray) -> np.ndarray:
    """The same numbers, in memory in an order that is neither C's nor Fortran's."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda array: array, id="as they are"),
        pytest.param(lambda array: array.astype(np.float16), id="float16"),
        pytest.param(lambda array: array.astype(np.float64), id="float64"),
        pytest.param(lambda array: array.astype(">f4"), id="big-endian"),
        pytest.param(np.asfortranarray, id="Fortran's order"),
        pytest.param(transposed, id="transposed"),
        pytest.param(lambda array: np.repeat(array, 2, axis=-1)[..., ::2], id="strided"),
    ],
)
def test_arrays_of_any_protocol_type_and_order_are_read(
    protocol: int, convert: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    model = {name: convert(array) for name, array in ARRAYS.items()}
    assert_read_as_arrays(write_pkl(tmp_path / "weights.pkl", {"model": model, "__author__": "someone"}, protocol))


@pytest.mark.parametrize("protocol", range(6))
def test_what_stands_beside_the_model_does_no_harm(protocol: int, tmp_path: Path) -> None:
    content = {
        "model": OrderedDict(ARRAYS),
        "__author__": "Détectron",
        "iteration": np.int64(90_000),
        "best": np.float32(0.3),
        "history": [1, 2.5, None, True, (b"bytes", {"nested": np.ones(2)})],
    }
    assert_read_as_arrays(write_pkl(tmp_path / "weights.pkl", content, protocol))


def test_a_bare_dict_of_arrays_is_a_model(tmp_path: Path) -> None:
    assert_read_as_arrays(write_pkl(tmp_path / "weights.pkl", ARRAYS))


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    """Byte for byte as cPickle and the numpy of then wrote it: str for bytes and for text, old module names."""
    array = np.array([1.5, -3.25, 1e-30], dtype="<f4")  # with bytes above 127, which are latin1
    data = array.tobytes()
    assert max(data) > 127

    def text(value: str) -> bytes:
        return pickle.SHORT_BINSTRING + bytes([len(value)]) + value.encode()

    pickled = b"".join(
        [
            pickle.PROTO + b"\x02",
            pickle.EMPTY_DICT + text("model") + pickle.EMPTY_DICT + text("head.bbox_pred.bias"),
            pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n",
            pickle.GLOBAL + b"numpy\nndarray\n" + pickle.BININT1 + b"\x00" + pickle.TUPLE1 + text("b"),
            pickle.TUPLE3 + pickle.REDUCE,
            pickle.MARK + pickle.BININT1 + b"\x01" + pickle.BININT1 + b"\x03" + pickle.TUPLE1,
            pickle.GLOBAL + b"numpy\ndtype\n",
            text("f4") + pickle.BININT1 + b"\x00" + pickle.BININT1 + b"\x01" + pickle.TUPLE3 + pickle.REDUCE,
            pickle.MARK + pickle.BININT1 + b"\x03" + text("<") + 3 * pickle.NONE,
            2 * (pickle.BININT + b"\xff\xff\xff\xff") + pickle.BININT1 + b"\x00" + pickle.TUPLE + pickle.BUILD,
            pickle.NEWFALSE + pickle.BINSTRING + len(data).to_bytes(4, "little") + data + pickle.TUPLE + pickle.BUILD,
            pickle.SETITEM + pickle.SETITEM + pickle.STOP,
        ]
    )
    assert np.array_equal(pickle.loads(pickled, encoding="latin1")["model"]["head.bbox_pred.bias"], array)
    (tmp_path / "old.pkl").write_bytes(pickled)
    assert torch.equal(load_checkpoint(tmp_path / "old.pkl")["head.bbox_pred.bias"], torch.from_numpy(array))


# --- .pth and .safetensors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            {
                "model": OrderedDict(TENSORS),
                "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.02}]},
                "scheduler": {"milestones": [60_000, 80_000], "last_epoch": 9},
                "iteration": 9,
            },
            id="of a training",
        ),
        pytest.param(OrderedDict(TENSORS), id="of a bare state_dict"),
        pytest.param({name: torch.nn.Parameter(tensor.half()) for name, tensor in TENSORS.items()}, id="of parameters"),
        pytest.param(
            {name: torch.from_numpy(np.asfortranarray(array)) for name, array in ARRAYS.items()},
            id="of transposed tensors",
        ),
    ],
)
def test_torch_files_are_read(zipped: bool, content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    assert_read_as_arrays(tmp_path / "weights.pth")


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in TENSORS.items()}, tmp_path / "weights.safetensors")
    entries = load_checkpoint(tmp_path / "weights.safetensors")
    assert all(torch.equal(entries[name], tensor) for name, tensor in TENSORS.items())


def test_entries_of_older_files_are_left_out(tmp_path: Path) -> None:
    old = {
        "pixel_mean": np.zeros((3, 1, 1)),
        "pixel_std": np.ones((3, 1, 1)),
        "anchor_generator.cell_anchors.0": np.zeros((2, 4)),
        "backbone.bottom_up.stem.conv1.norm.num_batches_tracked": np.int64(7),
    }
    assert_read_as_arrays(write_pkl(tmp_path / "weights.pkl", {"model": old | ARRAYS}))


# --- under any name, nested, and with prefixes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["weights.pt", "weights.bin", "weights.ckpt", "weights.pkl", "weights.safetensors", "w"]
)
@pytest.mark.parametrize("written", ["pickle", "torch", "old torch", "safetensors"])
def test_the_content_tells_the_kind_and_not_the_name(written: str, name: str, tmp_path: Path) -> None:
    if written == "pickle":
        write_pkl(tmp_path / name, {"model": ARRAYS})
    elif written == "safetensors":
        save_file(TENSORS, tmp_path / name)
    else:
        torch.save({"model": TENSORS}, tmp_path / name, _use_new_zipfile_serialization=written == "torch")
    assert_read_as_arrays(tmp_path / name)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_torchs_tensors_is_read(protocol: int, tmp_path: Path) -> None:
    """A view and a parameter too; each storage is a torch file within the pickle."""
    whole = torch.arange(40.0)
    tensors = {"head.view": whole[5:17].reshape(3, 4).T, "head.w": torch.nn.Parameter(torch.tensor([1.5, -2.0]))}
    content = {"model": OrderedDict(tensors), "iteration": 3}
    read = load_checkpoint(write_pkl(tmp_path / "weights.pkl", content, protocol))
    assert list(read) == list(tensors)
    assert all(torch.equal(read[name], tensor.detach()) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "_orig_mod.", "teacher.", "module._orig_mod.", "model.module.", "student.backbone_and_head."],
)
def test_a_prefix_of_all_names_is_taken_off_and_reported(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entries = {f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}
    torch.save({"model": {f"{prefix}pixel_mean": torch.zeros(3), **entries}}, tmp_path / "weights.pth")
    assert_read_as_arrays(tmp_path / "weights.pth")
    assert prefix.split(".")[0] in caplog.text
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_averaged_weights_are_read(tmp_path: Path) -> None:
    """As torch.optim.swa_utils.AveragedModel has them: a count beside the network's entries."""
    averaged = {"n_averaged": torch.tensor(3)} | {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    torch.save(averaged, tmp_path / "weights.pth")
    assert_read_as_arrays(tmp_path / "weights.pth")


def test_what_torch_compile_puts_into_names_is_taken_out(tmp_path: Path) -> None:
    entries = {name.replace("head.", "head._orig_mod."): tensor for name, tensor in TENSORS.items()}
    torch.save(entries, tmp_path / "weights.pth")
    assert_read_as_arrays(tmp_path / "weights.pth")


def test_names_that_become_one_are_refused(tmp_path: Path) -> None:
    torch.save({"head._orig_mod.w": torch.ones(1), "head.w": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="has several entries of one name"):
        load_checkpoint(tmp_path / "weights.pth")


def test_two_networks_in_one_file_are_refused_with_their_prefixes(tmp_path: Path) -> None:
    both = {f"{each}.{name}": tensor for name, tensor in TENSORS.items() for each in ("modelTeacher", "modelStudent")}
    torch.save({"model": both}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"holds 2 networks, whose names begin with modelStudent\. and modelTea"):
        load_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "places", ["state_dict", "model_state_dict", "net", "model_ema", "model.state_dict", "state_dict.model"]
)
def test_a_nested_network_is_found_and_its_place_reported(
    places: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content: dict[str, Any] = dict(TENSORS)
    for place in reversed(places.split(".")):
        content = {"epoch": 3, place: content, "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "weights.pth")
    assert_read_as_arrays(tmp_path / "weights.pth")
    assert f"the weights are those under {places.replace('.', ' / ')}" in caplog.text


def test_of_two_networks_the_trained_one_is_read_and_the_other_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"model_ema": {"head.other": torch.ones(1)}, "model": TENSORS}, tmp_path / "weights.pth")
    assert_read_as_arrays(tmp_path / "weights.pth")
    assert "model_ema in the same file isn't read" in caplog.text


def test_usual_weights_are_read_without_a_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert_read_as_arrays(write_pkl(tmp_path / "weights.pkl", {"model": ARRAYS, "__author__": "someone"}))
    assert not caplog.records


def test_matching_heuristics_beside_a_whole_network_do_no_harm(tmp_path: Path) -> None:
    assert_read_as_arrays(write_pkl(tmp_path / "weights.pkl", {"model": ARRAYS, "matching_heuristics": True}))


# --- what is no such file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"blobs": {"conv1_w": np.zeros(3)}}, id="Caffe2's blobs"),
        pytest.param({"model": {"stem.conv1.weight": np.zeros(3)}, "matching_heuristics": True}, id="torchvision's"),
    ],
)
def test_a_backbone_alone_is_told_apart(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights\.pkl holds the weights of a backbone alone"):
        load_checkpoint(write_pkl(tmp_path / "weights.pkl", content))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([ARRAYS], "holds a list, expected a dict"),
        (np.ones(3), "holds a ndarray, expected a dict"),
        ({"model": {}}, 'has no "model" with named arrays'),
        ({"model": None}, 'has no "model" with named arrays'),
        ({"model": {"w": "text"}}, "entry 'w' is a str, expected an array"),
        ({"model": {"w": [np.ones(1)]}}, "entry 'w' is a list, expected an array"),
        ({"model": {10**5000: np.ones(1)}}, "an entry's name is a int, expected a string"),
        ({"model": {"w": "text"}, "matching_heuristics": np.ones(2)}, "entry 'w' is a str"),
        ({"model": {"w": np.array([1.0, np.nan])}}, "entry w holds values that are infinite or not a number"),
        ({"model": {"w": np.array([-np.inf])}}, "entry w holds values that are infinite or not a number"),
        ({"model": {"w": np.array([1j])}}, "an array of type 'c16'"),
        ({"model": {"w": np.array(["text"])}}, "an array of type 'U4'"),
        ({"model": {"w": np.zeros(1, "f4,f4")}}, "an array of type 'V8'"),
    ],
)
def test_a_pickle_of_something_else_is_refused(content: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"weights\.pkl.*{complaint}"):
        load_checkpoint(write_pkl(tmp_path / "weights.pkl", content))


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        pytest.param(torch.tensor([torch.nan]), "entry w holds values", id="not a number"),
        pytest.param(torch.tensor([1j]), "asks for torch.ComplexFloatStorage", id="complex"),
        pytest.param(torch.ones(2, device="meta"), "asks for torch._utils._rebuild_meta_tensor", id="without data"),
        pytest.param(torch.eye(2).to_sparse(), "asks for torch._utils._rebuild_sparse_tensor", id="sparse"),
        pytest.param(torch.ones(1).expand(10**12), "with entry w the arrays have more bytes", id="a number as many"),
    ],
)
def test_a_torch_file_of_tensors_that_are_no_weights_is_refused(
    tensor: torch.Tensor, complaint: str, tmp_path: Path
) -> None:
    torch.save({"model": {"w": tensor}}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=rf"weights\.pth.*{complaint}"):
        load_checkpoint(tmp_path / "weights.pth")


def test_safetensors_of_numbers_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(4, dtype=torch.float8_e4m3fn)}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"entry w is of type torch\.float8_e4m3fn"):
        load_checkpoint(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_hold_the_same_as_torch_load_reads(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    """Views of one storage from its middle, transposed, of no numbers and of no axes too."""
    whole = torch.arange(24).to(dtype)
    tensors = {"view": whole[5:17].reshape(3, 4).T, "empty": whole[:0], "scalar": whole[7], "other": whole[:3].clone()}
    torch.save({"model": tensors}, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    read = torch.load(tmp_path / "weights.pth", weights_only=True)["model"]
    ours = load_checkpoint(tmp_path / "weights.pth")
    assert all(torch.equal(ours[name], tensor.float()) for name, tensor in read.items())
    assert list(ours) == list(read)


@pytest.mark.parametrize("written", ["pickle", "torch", "old torch", "safetensors"])
@pytest.mark.parametrize("kept", [0.02, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_with_its_bytes_and_those_expected(
    written: str, kept: float, tmp_path: Path
) -> None:
    tensors = {f"head.{number}": torch.zeros(100, 100) for number in range(3)}
    path = tmp_path / "weights"
    if written == "pickle":
        write_pkl(path, {"model": {name: tensor.numpy() for name, tensor in tensors.items()}})
    elif written == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": tensors}, path, _use_new_zipfile_serialization=written == "torch")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(CheckpointError, match=r"weights is cut short: .*; download or copy it again") as caught:
        load_checkpoint(path)
    numbers = re.search(r"it has (\d+) bytes, expected at least (\d+)", str(caught.value))
    assert numbers is not None
    has, least = map(int, numbers.groups())
    assert has == int(kept * len(whole))
    assert has < least <= len(whole)
    assert written != "safetensors" or least == len(whole)


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
def test_a_missing_file_and_a_folder_are_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name in (f"missing{suffix}", f"folder{suffix}"):
        with pytest.raises(CheckpointError, match=rf"can't read the weights .*{name}: \w+"):
            load_checkpoint(tmp_path / name)
