"""Label arrays of numpy, whole and damaged."""

import io

import numpy as np
import pytest

from mnc_jax.data.readers.label_maps import read_label_map
from mnc_jax.data.readers.npy import read_array


def _encode(array):
  file = io.BytesIO()
  np.save(file, array, allow_pickle=True)
  return file.getvalue()


@pytest.mark.parametrize("array", [
    np.arange(6, dtype=">u2").reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.eye(3, dtype=bool), np.full((1, 4), 7), np.arange(6).reshape(2, 3, 1)])
def test_arrays_come_back(array):
  np.testing.assert_array_equal(read_array(_encode(array)), np.squeeze(array, 2)
                                if array.ndim == 3 else array)


@pytest.mark.parametrize(("encoded", "message"), [
    (b"", "not a .npy file, or damaged"),
    (_encode(np.ones((4, 5)))[:-8], "ends after 152 of 160 bytes"),
    (_encode(np.ones((2, 3, 4))), r"has the shape \(2, 3, 4\): \(height, width\) is needed"),
    (_encode(np.ones((0, 4))), "has the shape"),
    (_encode({"masks": 1}), "holds object, not numbers: save the array of labels itself"),
    (_encode(np.ones((2, 2))).replace(b"(2, 2)", b"(9**9,)"), "not a .npy file, or damaged"),
    (_encode(np.ones((20, 20))).replace(b"(20, 20), ", b"(2000000,2000000), "),
     "at most 134217728 pixels")])
def test_what_is_no_array_of_labels(encoded, message):
  with pytest.raises(ValueError, match=message):
    read_array(encoded)


@pytest.mark.parametrize(("array", "message"), [
    (np.array([[0, 1.5]]), "label image .*a.npy has the label 1.5: whole numbers up to 2147483647"),
    (np.array([[0, np.nan]]), "has the label nan: whole"),
    (np.array([[-2, 1]]), "has the label -2, below 0"),
    (np.array([[2 ** 40]]), "has the label 1099511627776: whole")])
def test_numbers_that_are_no_labels(tmp_path, array, message):
  np.save(tmp_path / "a.npy", array)
  with pytest.raises(ValueError, match=message):
    read_label_map(tmp_path / "a.npy")


def test_large_labels_stay(tmp_path):
  np.save(tmp_path / "a.npy", np.array([[0, 70_000]], np.uint64))
  assert read_label_map(tmp_path / "a.npy").tolist() == [[0, 70_000]]
