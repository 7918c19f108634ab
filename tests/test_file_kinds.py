"""Files as people have them: each kind is read with right masks, or rejected in a sentence."""

import pytest

from file_kinds.outcome import KINDS, check


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_comes_out_as_expected(name, tmp_path):
  right, got = check(KINDS[name], tmp_path)
  assert right, got


def test_wrong_masks_and_missing_remarks_are_noticed(tmp_path):
  crowd = KINDS["PNG"]._replace(remark="crowd")
  assert not check(crowd, tmp_path / "remark")[0]
  assert not check(KINDS["PNG"]._replace(expected="damaged"), tmp_path / "read")[0]
  turned = KINDS["EXIF orientation 3"]
  right, got = check(turned._replace(options=("--exif", "stored"), data={"exif": "stored"}),
                     tmp_path / "turned")
  assert not right and "IoU 0." in got
