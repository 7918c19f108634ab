"""Files of MATLAB are unpacked within bounds, and stay what they were."""

import io
import random

import numpy as np
import pytest
import scipy.io

from mnc_jax.data.matlab import MOST_BYTES, unpack_matlab
from mutations import sbd_folders


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("value", [np.arange(5.0), "text", {"a": np.eye(3), "b": [1, "x"]}])
def test_what_is_unpacked_reads_the_same(packed, value):
  made = io.BytesIO()
  scipy.io.savemat(made, {"x": value, "y": 3}, do_compression=packed)
  found, expected = (scipy.io.loadmat(io.BytesIO(content), chars_as_strings=True)
                     for content in (unpack_matlab(made.getvalue()), made.getvalue()))
  assert repr(found["x"]) == repr(expected["x"])
  assert found["y"] == 3


# SciPy ended the process here, its stack being full.
@pytest.mark.parametrize("levels", [17, 300_000])
def test_deep_nesting_is_refused(levels):
  with pytest.raises(ValueError, match="nested deeper than 16 levels"):
    unpack_matlab(sbd_folders._nested_bomb(levels))


def test_what_unpacks_to_a_gigabyte_is_refused():
  with pytest.raises(ValueError, match=f"unpacks to more than {MOST_BYTES} bytes"):
    unpack_matlab(sbd_folders._zeros_bomb())


def test_huge_claims_are_refused():
  with pytest.raises(ValueError, match="claims a matrix of .* items"):
    unpack_matlab(sbd_folders._claims(random.Random(0)))


@pytest.mark.parametrize("content", [b"", b"MATLAB 7.3", bytes(200)])
def test_other_files_are_refused(content):
  with pytest.raises(ValueError, match="no file of MATLAB"):
    unpack_matlab(content)


def test_a_file_cut_short_is_refused():
  made = io.BytesIO()
  scipy.io.savemat(made, {"x": np.arange(99.0)})
  with pytest.raises(ValueError, match="cut short or damaged"):
    unpack_matlab(made.getvalue()[:-9])
