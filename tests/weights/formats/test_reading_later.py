"""Arrays are read late, from files that changed meanwhile; headers and sizes that are rare."""

import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from helpers.caffe_messages import make_net
from mnc_jax.weights import save_safetensors
from mnc_jax.weights.formats.caffemodel import is_caffemodel, read_caffemodel
from mnc_jax.weights.formats.npz import read_npz
from mnc_jax.weights.formats.safetensors_file import read_safetensors


def test_a_safetensors_file_replaced_after_it_was_opened(tmp_path):
  path = tmp_path / "model.safetensors"
  save_file({"kernel": np.ones((2, 3), np.float32)}, path)
  arrays, _ = read_safetensors(path)
  assert arrays["kernel"].shape == (2, 3)
  path.write_bytes(b"no longer that file")
  with pytest.raises(ValueError, match="model.safetensors: kernel cannot be read"):
    arrays["kernel"].read()


@pytest.mark.parametrize("version, fault", [((2, 0), None), ((3, 0), r"version \(3, 0\)")])
def test_versions_of_npy(tmp_path, version, fault):
  path = tmp_path / "weights.npz"
  with zipfile.ZipFile(path, "w") as archive, archive.open("kernel.npy", "w") as member:
    np.lib.format.write_array(member, np.arange(6.0).reshape(2, 3), version=version)
  if fault:
    with pytest.raises(ValueError, match=fault):
      read_npz(path)
  else:
    (kernel,) = read_npz(path)[0].values()
    np.testing.assert_array_equal(kernel.read(), [[0, 1, 2], [3, 4, 5]])


def test_a_model_is_not_written_over_a_folder(tmp_path):
  with pytest.raises(OSError, match=f"{tmp_path} cannot be written"):
    save_safetensors(tmp_path, {"layer": {"kernel": np.ones(2, np.float32)}}, {})


def test_a_caffemodel_may_begin_with_a_layer(tmp_path):
  path = tmp_path / "net.caffemodel"
  net = make_net({"conv": (np.ones((1, 2), np.float32),)})
  net.ClearField("name")
  path.write_bytes(net.SerializeToString())
  assert is_caffemodel(path)
  arrays, metadata = read_caffemodel(path)
  assert metadata == {}
  np.testing.assert_array_equal(arrays["conv/0"].read(), [[1, 1]])


def test_an_array_of_no_numbers(tmp_path):
  path = tmp_path / "net.caffemodel"
  path.write_bytes(make_net({"conv": (np.ones((0, 3), np.float32),)}).SerializeToString())
  assert read_caffemodel(path)[0]["conv/0"].read().shape == (0, 3)


def test_zero_is_the_number_of_no_field(tmp_path):
  path = tmp_path / "net.caffemodel"
  path.write_bytes(b"\x0a\x03net" + b"\x00\x01")
  with pytest.raises(ValueError, match="byte 5 does not begin a field of protobuf"):
    read_caffemodel(path)
