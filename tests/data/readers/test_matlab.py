"""Numbers of .mat files as SciPy reads them, and files that end SciPy's process or fill memory."""

import io

import numpy as np
import pytest
import scipy.io

from mnc_jax.data.readers.matlab import MOST_BYTES, read_struct
from mutations import sbd_folders
from mutations.sbd_folders import _HEADER, _element, _matrix


def _save(ground_truth, *, packed=False):
  made = io.BytesIO()
  scipy.io.savemat(made, ground_truth, do_compression=packed)
  return made.getvalue()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "u8", "f4", "f8", "?"])
def test_numbers_are_those_that_scipy_wrote(packed, dtype):
  values = (np.arange(15) % 7).reshape(3, 5).astype(dtype)
  content = _save({"before": [1, 2], "x": {"a": values, "b": "text", "c": 2.5}}, packed=packed)
  found = read_struct(content, "x")
  np.testing.assert_array_equal(found["a"], values)
  assert found["b"] == "text"
  assert found["c"].tolist() == [[2.5]]
  assert read_struct(content, "y") is None
  assert read_struct(content, "before") == {}


# SciPy ended the process here, its stack being full.
def test_deep_nesting_is_not_followed():
  assert read_struct(sbd_folders._nested_bomb(300_000), "GTinst") == {}


# SciPy ended the process here, knowing no such numbers.
def test_numbers_of_no_known_type_are_rejected():
  value = _matrix(6, (1, 1), _element(14, b""))
  content = _HEADER + _matrix(2, (1, 1), _element(5, b"\2\0\0\0"), _element(1, b"a\0"), value,
                              name=b"x")
  with pytest.raises(ValueError, match="numbers of type 14"):
    read_struct(content, "x")


def test_what_unpacks_to_too_much_is_rejected():
  with pytest.raises(ValueError, match=f"unpacks to more than {MOST_BYTES} bytes"):
    read_struct(sbd_folders._zeros_bomb(), "GTinst")


def test_millions_of_elements_without_content_cost_nothing():
  nothing = bytes(2 ** 24)
  fields = _matrix(2, (1, 1), _element(5, b"\1\0\0\0"), _element(1, bytes(2 ** 20)), name=b"x")
  for content in (_HEADER + nothing, _HEADER + _matrix(2, (1, 1), nothing, name=b"other")):
    assert read_struct(content, "x") is None
  with pytest.raises(ValueError, match="a struct has more than 4096 fields"):
    read_struct(_HEADER + fields, "x")
  with pytest.raises(ValueError, match="does not have one part of numbers"):
    read_struct(_HEADER + _matrix(2, (1, 1), _element(5, b"\2\0\0\0"), _element(1, b"a\0"),
                                  _matrix(6, (1, 1), nothing), name=b"x"), "x")


def test_a_larger_file_is_rejected_before_it_is_read():
  with pytest.raises(ValueError, match=rf"it has \d+ bytes, more than {MOST_BYTES}"):
    read_struct(_HEADER + bytes(MOST_BYTES), "x")


def test_huge_dimensions_need_as_many_numbers():
  value = _matrix(6, (50_000,) * 3, _element(9, bytes(8)))
  content = _HEADER + _matrix(2, (1, 1), _element(5, b"\2\0\0\0"), _element(1, b"a\0"), value,
                              name=b"x")
  with pytest.raises(ValueError, match=r"a matrix of \(50000, 50000, 50000\) has 1 numbers"):
    read_struct(content, "x")


@pytest.mark.parametrize("content", [b"", b"MATLAB 7.3", bytes(200)])
def test_other_files_are_rejected(content):
  with pytest.raises(ValueError, match="not a file of MATLAB"):
    read_struct(content, "x")


@pytest.mark.parametrize("packed", [True, False])
def test_a_truncated_file_is_rejected(packed):
  with pytest.raises(ValueError, match="truncated"):
    read_struct(_save({"x": {"a": np.arange(99.0)}}, packed=packed)[:-9], "x")
