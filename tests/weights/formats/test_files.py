"""Weight files are recognised by their content; other and damaged files are reported."""

import builtins
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from helpers.caffe_messages import make_net
from mnc_jax.weights import open_file

ARRAYS = {"one": np.arange(6, dtype=np.float32).reshape(2, 3), "two": np.float32([7])}


def write_npz(path):
  with path.open("wb") as file:
    np.savez(file, **ARRAYS)


def write_hdf5(path):
  with h5py.File(path, "w") as file:
    for name, array in ARRAYS.items():
      file[name] = array


def write_caffemodel(path):
  path.write_bytes(make_net({name: (array,) for name, array in ARRAYS.items()}).SerializeToString())


def write_caffe_hdf5(path):
  with h5py.File(path, "w") as file:
    for name, array in ARRAYS.items():
      file[f"data/{name}/0"] = array


def write_torch(path, *, content=None, **options):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  torch.save(content or {name: torch.from_numpy(array) for name, array in ARRAYS.items()},
             path, **options)


WRITERS = {
    "npz": write_npz, "hdf5": write_hdf5, "safetensors": lambda path: save_file(ARRAYS, path),
    "torch": write_torch,
    "torch before 1.6": lambda path: write_torch(path, _use_new_zipfile_serialization=False),
    "caffemodel": write_caffemodel, "hdf5 of Caffe": write_caffe_hdf5}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_content_says_what_a_file_is(tmp_path, kind):
  path = tmp_path / "weights.npz.bak"
  WRITERS[kind](path)
  file = open_file(path)
  assert file.container == kind.split()[0]
  end = "/0" if "affe" in kind else ""
  assert set(file.arrays) == {name + end for name in ARRAYS}
  for name, array in ARRAYS.items():
    assert file.arrays[name + end].shape == array.shape
    np.testing.assert_array_equal(file.arrays[name + end].read(), array)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_truncated_file_is_reported(tmp_path, kind, share):
  path = tmp_path / "cut"
  WRITERS[kind](path)
  path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
  with pytest.raises(ValueError, match="cut (cannot be read|begins as|holds .* truncated)"):
    open_file(path)


def test_a_damaged_array_is_reported(tmp_path):
  path = tmp_path / "x"
  # Large enough for its end not to be read with its header.
  np.savez(tmp_path / "x.npz", one=np.ones(100_000, np.float32))
  content = bytearray((tmp_path / "x.npz").read_bytes())
  content[300_000] = 7
  path.write_bytes(content)
  array = open_file(path).arrays["one"]
  with pytest.raises(ValueError, match="x: one cannot be read: Bad CRC"):
    array.read()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_dtypes_become_float32(tmp_path, dtype):
  np.savez(tmp_path / "x.npz", a=np.array([1, 2], dtype))
  found = open_file(tmp_path / "x.npz").arrays["a"].read()
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, [1, 2])


@pytest.mark.parametrize("content, message", [
    (b"", "x is empty"),
    (b"no weights at all, but some text", "x is not a weight file: it begins with b'no weights"),
    (b"\n<html>\n<head><title>Sign in</title>", "x is not a weight file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "x is not a weight file"),
    (b"\x93NUMPY\x01\x00v\x00", "x is not a weight file"),
    (b"PK\x03\x04broken", "x begins as .npz and .pth files do, but cannot be read"),
    (b"\x89HDF\r\n\x1a\nbroken", "x cannot be read as HDF5"),
    (b"\x05\x00\x00\x00\x00\x00\x00\x00{brok", "x cannot be read as safetensors"),
    (pickle.dumps({"a": np.zeros(3)}), "x is a pickle, which could run any code")])
def test_other_files_are_rejected(tmp_path, content, message):
  (tmp_path / "x").write_bytes(content)
  with pytest.raises(ValueError, match=message):
    open_file(tmp_path / "x")


def test_missing_files_and_folders_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="none.npz: no such file"):
    open_file(tmp_path / "none.npz")
  with pytest.raises(FileNotFoundError, match="is a folder: give the weight file"):
    open_file(tmp_path)


def test_python_objects_in_npz_are_not_unpickled(tmp_path):
  np.savez(tmp_path / "x.npz", a=np.array([{"an": "object"}], object))
  with pytest.raises(ValueError, match="x.npz: a cannot be read: Object arrays cannot be loaded"):
    open_file(tmp_path / "x.npz").arrays["a"].read()


class _Trap:
  """Writes a file when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_of_pytorch_is_not_run(tmp_path, zipped):
  write_torch(tmp_path / "x", content={"a": _Trap(tmp_path / "sprung")},
              _use_new_zipfile_serialization=zipped)
  with pytest.raises(ValueError, match="x holds more than arrays .* not opened") as caught:
    open_file(tmp_path / "x")
  assert "weights_only" not in str(caught.value)
  assert not (tmp_path / "sprung").exists()


def test_checkpoints_of_pytorch_are_unwrapped(tmp_path):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  weight = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
  write_torch(tmp_path / "x", content={"epoch": 3, "state_dict": {"module.a": weight, "n": 5}})
  file = open_file(tmp_path / "x")
  np.testing.assert_array_equal(file.arrays["a"].read(), np.float32([1, 1]))
  assert file.metadata == {"n": "5"}


def test_a_lone_tensor_and_a_program_are_rejected(tmp_path):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  write_torch(tmp_path / "x", content=[torch.ones(2)])
  with pytest.raises(ValueError, match="x holds one list, not a state dict"):
    open_file(tmp_path / "x")
  with zipfile.ZipFile(tmp_path / "y", "w") as archive:  # As torch.jit.save.
    for name in ("data.pkl", "constants.pkl", "code/m.py"):
      archive.writestr(f"y/{name}", b"")
  with pytest.raises(ValueError, match="y is a TorchScript program"):
    open_file(tmp_path / "y")


@pytest.mark.parametrize("names, message", [
    (("metadata.json", "config.json", "model.weights.h5"),
     "x is an archive of Keras: unzip it, and give the file model.weights.h5"),
    (("model.json", "predict_64x64.jax", "weights/a/b.npy"),
     "x: programs of mnc export only run, .* the workdir or .safetensors file")])
def test_archives_of_programs_and_of_keras_are_named(tmp_path, names, message):
  with zipfile.ZipFile(tmp_path / "x", "w") as archive:
    for name in names:
      archive.writestr(name, b"")
  with pytest.raises(ValueError, match=message):
    open_file(tmp_path / "x")


def test_without_pytorch_its_files_are_named(tmp_path, monkeypatch):
  write_torch(tmp_path / "x")
  import_module = builtins.__import__

  def import_all_but_torch(name, *arguments):
    if name == "torch":
      raise ImportError(name)
    return import_module(name, *arguments)

  monkeypatch.setattr(builtins, "__import__", import_all_but_torch)
  with pytest.raises(ValueError, match="x is a PyTorch file, but PyTorch is not installed: pip"):
    open_file(tmp_path / "x")


def test_entries_of_pytorch_without_a_name_are_reported_not_read(tmp_path):
  torch = pytest.importorskip("torch", reason="needs PyTorch: pip install mnc_jax[parity]")
  torch.save({"a.weight": torch.ones(2), 3: torch.zeros(1)}, tmp_path / "x")
  file = open_file(tmp_path / "x")
  assert set(file.arrays) == {"a.weight"}
  assert "3" in file.metadata
