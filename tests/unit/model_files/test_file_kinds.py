"""Files that people take for weights are named for what they are, under any name."""

import gzip
import io
import json
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tensormask_server.model_files.checkpoint import CheckpointError, check_sha256, load_checkpoint


def saved_numpy(archive: bool) -> bytes:
    file = io.BytesIO()
    if archive:
        np.savez(file, w=np.ones(3))
    else:
        np.save(file, np.ones(3))
    return file.getvalue()


def torch_script() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # people still have such files
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pkl"), io.BytesIO())
    return file.getvalue()


FILES = {
    "nothing": (b"", "is empty: it has 0 bytes; expected weights; download"),
    "spaces": (b" \n\n", "is blank; expected weights"),
    "zeros": (bytes(5000), "is not weights: it begins with zeros alone"),
    "a page": (b"<!DOCTYPE html>\n<html>", "is an HTML page, .* expired"),
    "a page with spaces before it": (b"\n\n  <HTML lang=en>", "is an HTML page"),
    "a page with a mark before it": (b"\xef\xbb\xbf<html><body>404</body>", "is an HTML page"),
    "an error of a file store": (b"<Error><Code>AccessDenied</Code></Error>", "is an XML page"),
    "XML": (b'<?xml version="1.0"?><Error/>', "is an XML page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer"),
    "JSON": (json.dumps({"message": "Not Found"}).encode(), "is JSON"),
    "a list of JSON": (b"[1, 2]", "is JSON"),
    "gzip": (gzip.compress(b"weights"), "is compressed by gzip; unpack it with gunzip"),
    "xz": (b"\xfd7zXZ\x00", "is compressed by xz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04", "is compressed by zstd"),
    "tar": (tarred(), "is a tar archive"),
    "a URL": (b"https://example.org/weights.pkl\n", "is a text with a URL; download"),
    "TorchScript": (torch_script(), r"is TorchScript, .*network\.state_dict\(\)"),
    "a zip": (zipped("README.md"), "is a zip archive of 1 files that torch.save didn't write"),
    "an archive": (zipped("MAR-INF/MANIFEST.json", "model.safetensors"), r"is a TorchServe archive .* --archive"),
    "arrays": (saved_numpy(archive=True), r"is an archive of NumPy arrays \(\.npz\)"),
    "an array": (saved_numpy(archive=False), r"is a single NumPy array \(\.npy\)"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    "an image": (b"\x89PNG\r\n\x1a\n", "is a PNG image"),
    "a configuration": (b"# mine\nMODEL:\n  MASK_ON: true\n", "is a configuration .* Are -cp and -tp swapped"),
    "Python": (b"import torch\n", "is Python source"),
    "text": (b"The model is at", "is not weights: it begins with b'The model is at'"),
    "noise": (bytes(range(200, 256)), "is not weights: it begins with"),
}


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors", ""])
@pytest.mark.parametrize("kind", FILES)
def test_what_is_not_weights_is_named(kind: str, suffix: str, tmp_path: Path) -> None:
    content, said = FILES[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights{suffix} {said}"):
        load_checkpoint(path)


def test_a_page_is_named_before_the_digits_of_the_name_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "model_final_e8df31.pkl"
    path.write_bytes(b"<html>sign in</html>")
    with pytest.raises(CheckpointError, match="is an HTML page"):
        check_sha256(path)


def test_a_url_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="download the file that this URL names"):
        load_checkpoint("https://example.org/model_final.pkl")


def test_an_object_is_refused_with_how_to_save_the_weights(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"asks for torch\.nn\..*Linear; .* save the weights alone: torch\.save\("
    ):
        load_checkpoint(tmp_path / "weights.pth")
