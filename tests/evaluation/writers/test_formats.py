import json

import pytest

from helpers.fake_bucket import serve_buckets
from helpers.found_by_hand import make_found, make_record, make_target
from mnc_jax.config.paths import as_path
from mnc_jax.evaluation.writers.formats import check_files, describe_places, open_writers

ALL = ("pictures", "coco", "labels", "csv", "labelme")


def write_all(folder, *found, formats=ALL):
  with open_writers(formats, make_target(folder)[0]) as writers:
    for one in found:
      for write in writers:
        write(one)


def test_only_the_formats_named_are_written(tmp_path):
  for formats, names in ((("labels",), ["labels"]),
                         (("coco", "pictures"), ["a.png", "instances.json"]),
                         (ALL, ["a.png", "instances.csv", "instances.json", "labelme", "labels"])):
    folder = tmp_path / "-".join(formats)
    folder.mkdir()
    write_all(folder, make_found(make_record((1, 9), (2, 9))), formats=formats)
    assert sorted(path.name for path in folder.iterdir()) == names


def test_results_have_all_instances_and_name_image_and_category(tmp_path):
  records = [make_record((1, 9), (2, 9)),
             make_record((1, 9), (2, 9), score=0.1, category_id=7)]
  write_all(tmp_path, make_found(*records, confident=records[:1]), formats=("coco",))
  assert json.loads((tmp_path / "instances.json").read_text()) == [
      record | {"file_name": "folder/a.png", "category_name": name}
      for record, name in zip(records, ("cat", "größer"), strict=True)]


def test_an_input_is_not_overwritten(tmp_path):
  image, clip = tmp_path / "a.png", tmp_path / "clip.mp4"
  with pytest.raises(ValueError, match="a.png would be overwritten by its own drawing: give anoth"):
    check_files(ALL, tmp_path, ["b", "a"], [image])
  with pytest.raises(ValueError, match="clip.mp4 would be overwritten"):
    check_files(("video",), tmp_path, ["clip"], [clip])
  check_files(("coco", "csv"), tmp_path, ["b", "a"], [image])
  check_files(ALL, tmp_path / "out", ["b", "a"], [image])


@pytest.mark.parametrize("name", ["labels/a.png", "labelme/a.json"])
def test_what_may_have_been_corrected_is_not_overwritten(tmp_path, name):
  write_all(tmp_path, make_found(make_record((1, 9), (2, 9))))
  check_files(("pictures", "coco", "csv"), tmp_path, ["a"], [])
  check_files(ALL, tmp_path, ["b"], [])
  with pytest.raises(ValueError, match=f"{name} is there already, and perhaps was corrected"):
    check_files((name.partition("/")[0],), tmp_path, ["b", "a"], [])


def test_all_formats_of_images_go_into_a_bucket(tmp_path):
  (tmp_path / "bucket").mkdir()
  with serve_buckets(tmp_path):
    folder = as_path("gs://bucket/out")
    folder.mkdir()
    check_files(ALL, folder, ["a"], [tmp_path / "a.png"])
    write_all(folder, make_found(make_record((1, 9), (2, 9))))
    with pytest.raises(ValueError, match="gs://bucket/out/labels/a.png is there already"):
      check_files(ALL, folder, ["a"], [])
  found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
  assert found == {f"bucket/out/{name}" for name in (
      "a.png", "instances.csv", "instances.json", "labels/a.png", "labelme/a.json",
      "labelme/a.png")}


def test_where_instances_are():
  assert describe_places(("pictures", "coco")) == "drawn in the pictures beside it"
  assert describe_places(("video", "coco", "labels")) == (
      "drawn in the video beside it and in labels/")
  assert describe_places(("labelme", "csv", "pictures")) == (
      "drawn in the pictures, in instances.csv and in labelme/")
  assert describe_places(("labels", "coco")) == "in labels/"
  assert describe_places(("coco",)) == ""
