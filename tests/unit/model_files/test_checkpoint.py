"""Weight files of every format in use are read as the same named tensors, and broken ones are refused by their name."""

import pickle
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
    assert list(entries) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert entries[name].dtype == torch.float32
        assert torch.equal(entries[name], torch.from_numpy(array))


# --- .pkl -------------------------------------------------------------------------------------------------------------


def transposed(array: np.ndarray) -> np.ndarray:
    """The same numbers, in memory in an order that is neither C's nor Fortran's."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
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


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
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


# --- what is no such file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"blobs": {"conv1_w": np.zeros(3)}}, id="Caffe2's blobs"),
        pytest.param({"model": ARRAYS, "matching_heuristics": True}, id="torchvision's"),
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


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pkl":
        write_pkl(path, {"model": ARRAYS})
    elif suffix == ".pth":
        torch.save({"model": TENSORS}, path)
    else:
        save_file(TENSORS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(CheckpointError, match=rf"weights\{suffix} is not a .*: \w+"):
        load_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"<html><body>404</body></html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_page_in_place_of_the_weights_is_refused_with_a_reason(suffix: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"weights{suffix}").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights\{suffix} is .*: \w+"):
        load_checkpoint(tmp_path / f"weights{suffix}")


@pytest.mark.parametrize("name", ["weights.bin", "weights", "weights.pkl.gz"])
def test_another_ending_is_refused_with_those_supported(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"{name} isn't there; supported: \.pkl, \.pth, \.safetensors"):
        load_checkpoint(tmp_path / name)
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=rf"{name} has the ending .*; supported: \.pkl, \.pth, \.safetensors"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
def test_a_missing_file_and_a_folder_are_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name in (f"missing{suffix}", f"folder{suffix}"):
        with pytest.raises(CheckpointError, match=rf"can't read the weights .*{name}: \w+"):
            load_checkpoint(tmp_path / name)
