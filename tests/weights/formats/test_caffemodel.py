"""Caffe's protobuf files: both forms of layers, packed or not, and errors of damaged ones."""

import numpy as np
import pytest

from helpers.caffe_messages import caffe_message, make_net
from mnc_jax.weights import open_file
from mnc_jax.weights.formats.lazy import plain_shape


def make_layers():
  rng = np.random.default_rng(0)
  return {name: tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)
          for name, shapes in (("conv", ((4, 3, 5, 2), (4,))), ("fc", ((7, 60), (7,))),
                               ("scale", ((3,),)))}


def write(path, net):
  path.write_bytes(net if isinstance(net, bytes) else net.SerializeToString())
  return path


@pytest.mark.parametrize("old", [False, True], ids=["layer", "layers of 2014"])
@pytest.mark.parametrize("packed", [False, True], ids=["tags", "packed"])
@pytest.mark.parametrize("double", [False, True], ids=["float", "double"])
def test_every_number_is_read(tmp_path, old, packed, double):
  layers = make_layers()
  path = write(tmp_path / "x", make_net(layers, old=old, packed=packed, double=double))
  file = open_file(path)
  assert file.container == "caffemodel"
  assert file.metadata == {"name": "a net"}
  expected = {f"{name}/{index}": array for name, arrays in layers.items()
              for index, array in enumerate(arrays)}
  assert set(file.arrays) == set(expected)
  for name, array in expected.items():
    found = file.arrays[name].read()
    assert found.dtype == np.float32
    assert found.shape == file.arrays[name].shape == array.shape
    np.testing.assert_array_equal(found, array)


def test_numbers_in_several_pieces_are_joined(tmp_path):
  # Allowed by protobuf: fields of one number are joined in the order they come in.
  values = np.arange(200_000, dtype=np.float32)
  net = make_net({"fc": (values,)}, packed=False)
  net.layer[1].blobs[0].ClearField("data")
  body = net.layer[1].blobs[0].SerializeToString()
  tags = b"".join(b"\x2d" + value.tobytes() for value in values[:150_000])
  packed = values[150_000:].tobytes()
  body = tags + body + b"\x2a" + _varint(len(packed)) + packed
  path = write(tmp_path / "x", _field(100, _field(1, b"fc") + _field(7, body)))
  np.testing.assert_array_equal(open_file(path).arrays["fc/0"].read(), values)


def _varint(value):
  return bytes([value & 0x7F | 0x80]) + _varint(value >> 7) if value > 0x7F else bytes([value])


def _field(number, content):
  return _varint(number << 3 | 2) + _varint(len(content)) + content


@pytest.mark.parametrize("shape, plain", [
    ((1, 1, 1, 64), (64,)), ((1, 1, 4096, 25088), (4096, 25088)), ((64, 3, 3, 3), (64, 3, 3, 3)),
    ((1, 3, 3, 3), (1, 3, 3, 3)), ((5,), (5,)), ((1, 7), (1, 7))])
def test_shapes_lose_the_ones_of_2014(shape, plain):
  assert plain_shape(shape) == plain


def test_a_truncated_file_is_reported(tmp_path):
  whole = make_net(make_layers()).SerializeToString()
  for length in (len(whole) - 1, len(whole) // 2, 40):
    with pytest.raises(ValueError, match=r"x cannot be read as .caffemodel: .* truncated"):
      open_file(write(tmp_path / "x", whole[:length]))


def test_a_file_that_shrinks_after_it_was_opened_is_reported(tmp_path):
  path = write(tmp_path / "x", make_net(make_layers()))
  array = open_file(path).arrays["scale/0"]
  path.write_bytes(path.read_bytes()[:-12])
  with pytest.raises(ValueError, match="x: scale/0 cannot be read: the file has become shorter"):
    array.read()


def test_numbers_that_do_not_fill_their_shape_are_reported(tmp_path):
  net = make_net(make_layers())
  net.layer[2].blobs[0].data.pop()
  with pytest.raises(ValueError, match=r"fc/0 has shape \(7, 60\) but 419 numbers"):
    open_file(write(tmp_path / "x", net))


def test_two_layers_of_one_name_are_reported(tmp_path):
  net = make_net({"conv": (np.zeros(1),), "fc": (np.zeros(1),)})
  net.layer[2].name = "conv"
  with pytest.raises(ValueError, match="two layers called conv"):
    open_file(write(tmp_path / "x", net))


def test_layers_of_before_2014_are_reported(tmp_path):
  net = caffe_message("NetParameter")(name="old")
  net.layers.add().layer.name = "conv"
  with pytest.raises(ValueError, match="before 2014: .* upgrade_net_proto_binary"):
    open_file(write(tmp_path / "x", net))


def test_a_net_without_arrays_is_reported(tmp_path):
  with pytest.raises(ValueError, match=r"x \(caffemodel\) holds no array"):
    open_file(write(tmp_path / "x", make_net({})))
