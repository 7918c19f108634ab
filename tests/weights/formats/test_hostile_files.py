"""Malformed weight files: wrong sizes, types and offsets; each was once read as valid."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from mnc_jax.weights import open_file, read_categories
from mnc_jax.weights.formats.lazy import MOST_NUMBERS, lazy_array


def test_an_entry_of_npz_with_more_behind_its_array_is_rejected(tmp_path):
  # Neither the rest nor the checksum was checked.
  head = io.BytesIO()
  np.save(head, np.ones(3, np.float32))
  with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("a.npy", head.getvalue() + bytes(10**6))
  with pytest.raises(ValueError, match=r"a.npy has 1000140 bytes, but its array .* needs 140"):
    open_file(tmp_path / "x")


def test_entries_that_are_not_compressed_as_numpy_does_are_rejected(tmp_path):
  with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_BZIP2) as archive:
    archive.writestr("a.npy", bytes(10**8))
  with pytest.raises(ValueError, match="a.npy is compressed in a way that numpy does not write"):
    open_file(tmp_path / "x")


def test_numbers_that_are_stored_in_another_file_are_rejected(tmp_path):
  (tmp_path / "secret").write_bytes(bytes(range(40)))
  with h5py.File(tmp_path / "x", "w") as file:
    file.create_dataset("a", (10,), "f4", external=[(str(tmp_path / "secret"), 0, 40)])
  with pytest.raises(ValueError, match="x cannot be read as HDF5: a is stored in another file"):
    open_file(tmp_path / "x")


def test_virtual_arrays_are_rejected(tmp_path):
  layout = h5py.VirtualLayout((4,), "f4")
  layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "b", (4,))
  with h5py.File(tmp_path / "x", "w") as file:
    file.create_virtual_dataset("a", layout)
  with pytest.raises(ValueError, match="a is stored in another file"):
    open_file(tmp_path / "x")


def test_a_packed_array_of_terabytes_is_not_unpacked(tmp_path):
  with h5py.File(tmp_path / "x", "w") as file:
    file.create_dataset("a", (2**40,), "f4", chunks=(2**20,), compression="gzip")
  with pytest.raises(ValueError, match=f"a claims the shape .* more than {MOST_NUMBERS} numbers"):
    open_file(tmp_path / "x").arrays["a"].read()


@pytest.mark.parametrize(("array", "found"), [
    (np.array(["1.5", "2"]), "<U3"), (np.array([1 + 2j]), "complex128"),
    (np.array([True]), "bool"), (np.array(["2020-01-01"], "M8[D]"), "datetime64"),
    (np.array([-3], np.int8), "int8, not floats: is the file quantised")])
def test_what_is_no_real_number_is_rejected(array, found):
  with pytest.raises(ValueError, match=f"f: a cannot be read: it holds {found}"):
    lazy_array("f", "a", array.shape, lambda: array).read()


def test_an_array_of_another_shape_than_claimed_is_rejected():
  with pytest.raises(ValueError, match=r"has shape \(2,\), but the file says \(3,\)"):
    lazy_array("f", "a", (3,), lambda: np.ones(2)).read()


@pytest.mark.parametrize(("names", "ids", "message"), [
    ('["a", "a"]', "[1, 2]", "category_names has an entry twice"),
    ('["a", "b"]', "[1, 1]", "category_ids has an entry twice"),
    ('"ab"', "[1, 2]", "category_names is not a list of str"),  # Were two names.
    ('["a", "b"]', "[1, 2.5]", "category_ids is not a list of int"),
    ('["a", "b"]', '["1", true]', "category_ids is not a list of int"),
    ("[" * 100_000, "[1]", "nested too deep")])
def test_malformed_categories_are_rejected(names, ids, message):
  with pytest.raises(ValueError, match=message):
    read_categories({"category_names": names, "category_ids": ids}, "f")


def test_a_sound_file_is_still_read(tmp_path):
  save_file({"a": np.ones((2, 3), np.float16)}, tmp_path / "x")
  assert open_file(tmp_path / "x").arrays["a"].read().tolist() == [[1] * 3] * 2
