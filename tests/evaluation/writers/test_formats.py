import contextlib
import json
import pathlib
import re

import pytest

from helpers.fake_bucket import serve_buckets
from helpers.found_by_hand import make_found, make_record, make_target
from mnc_jax.config.paths import as_path
from mnc_jax.evaluation.writers.formats import (
  check_files,
  describe_places,
  find_frames,
  open_writers,
)
from mnc_jax.evaluation.writers.table import COLUMNS

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
  with pytest.raises(ValueError, match="a.png would be overwritten, but is an input: give another"):
    check_files(ALL, tmp_path, ["b", "a"], [image])
  with pytest.raises(ValueError, match="clip.mp4 would be overwritten"):
    check_files(("video",), tmp_path, ["clip"], [clip])
  for kind, name in (("coco", "instances.json"), ("csv", "instances.csv")):
    with pytest.raises(ValueError, match=f"{name} would be overwritten, but is an input"):
      check_files((kind,), tmp_path, ["a"], [image, tmp_path / name])
  check_files(("coco", "csv"), tmp_path, ["b", "a"], [image])
  check_files(ALL, tmp_path / "out", ["b", "a"], [image])


@pytest.mark.parametrize(("kind", "place", "reason"), [
    ("labels", "labels/[a]_000007.png", "corrected by hand"),
    ("labelme", "labelme/[a]_1000000.json", "corrected by hand"),
    ("pictures", "[a]_000001.png", "no drawing, beside inputs")])
def test_later_frames_of_a_video_are_not_overwritten(tmp_path, kind, place, reason):
  assert find_frames(ALL, tmp_path / "out", "[a]") == ["[a]_000000"]
  (tmp_path / place).parent.mkdir(exist_ok=True)
  for path in (place, place.replace("]_", "]_old_"), place.replace("[a]", "a")):
    (tmp_path / path).write_bytes(b"corrected")
  names = find_frames((kind,), tmp_path, "[a]")
  assert names == ["[a]_000000", pathlib.Path(place).stem]
  message = f"{re.escape(place)} is there already, and perhaps .*{reason}"
  with pytest.raises(ValueError, match=message):
    check_files((kind,), tmp_path, ["[a]", *names], [tmp_path / "[a].mp4"])


def test_pictures_and_videos_beside_inputs_are_not_overwritten(tmp_path):
  for name in ("a.png", "clip.mp4"):
    (tmp_path / name).write_bytes(b"a mask, or another clip")
  for kind, name in (("pictures", "a.png"), ("video", "clip.mp4")):
    arguments = (kind,), tmp_path, ["b", "a", "clip"]
    with pytest.raises(ValueError, match=f"{name} is there already, and perhaps is no drawing"):
      check_files(*arguments, [tmp_path / "a.jpg"])
    check_files(*arguments, [tmp_path / "in" / "a.jpg"])  # Of an earlier call.


@pytest.mark.parametrize(("kind", "content", "is_own"), [
    ("coco", "", True), ("coco", "[]\n", True),
    ("coco", '[{"image_id": 5, "score": 1.0, "category_name": "cat"},\n{"image_id": 6', True),
    ("coco", '[{"image_id": 5, "category_id": 1, "score": 1.0}]', False),
    ("coco", '{"images": []}', False), ("coco", "[1, 2]", False), ("csv", "", True),
    ("csv", ",".join(COLUMNS) + "\na,1\n", True), ("csv", "name,count\na,1\n", False)])
def test_files_of_these_names_that_others_wrote_are_not_overwritten(tmp_path, kind, content,
                                                                    is_own):
  path = tmp_path / {"coco": "instances.json", "csv": "instances.csv"}[kind]
  path.write_text(content)
  with (contextlib.nullcontext() if is_own else pytest.raises(
      ValueError, match=f"{path} is there already, and was not written by mnc predict: give")):
    check_files((kind,), tmp_path, ["a"], [])
  assert path.read_text() == content


def test_own_files_are_overwritten(tmp_path):
  for _ in range(2):
    check_files(("coco", "csv"), tmp_path, ["a"], [])
    write_all(tmp_path, make_found(make_record((1, 9), (2, 9))), formats=("coco", "csv"))
  assert len(json.loads((tmp_path / "instances.json").read_text())) == 1
  assert len((tmp_path / "instances.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(("kind", "name"), [("coco", "instances.json"), ("csv", "instances.csv")])
def test_earlier_results_are_there_until_the_first_image(tmp_path, kind, name):
  write_all(tmp_path, make_found(make_record((1, 9), (2, 9))), formats=(kind,))
  before = (tmp_path / name).read_text()
  with pytest.raises(KeyError), open_writers((kind,), make_target(tmp_path)[0]) as _:
    raise KeyError  # Such as an image that does not fit into memory.
  assert (tmp_path / name).read_text() == before
  with open_writers((kind,), make_target(tmp_path)[0]) as writers:
    assert (tmp_path / name).read_text() == before
    writers[0](make_found())
    after = (tmp_path / name).read_text()
    assert len(after) < len(before)
  write_all(tmp_path, make_found(make_record((1, 9), (2, 9))), formats=(kind,))
  write_all(tmp_path, formats=(kind,))  # No image could be used.
  assert (tmp_path / name).read_text() == after


@pytest.mark.parametrize(("kind", "name"), [("coco", "instances.json"), ("csv", "instances.csv")])
def test_a_second_program_does_not_write_to_the_same_file(tmp_path, kind, name):
  found = make_found(make_record((1, 9), (2, 9)))
  with open_writers((kind,), make_target(tmp_path)[0]) as writers:
    writers[0](found)
    before = (tmp_path / name).read_text()
    with pytest.raises(BlockingIOError, match=f"another mnc predict writes to {tmp_path}/{name}: "
                       "wait until it ends, or give another --output"):
      write_all(tmp_path, found, formats=(kind,))
    assert (tmp_path / name).read_text() == before
    writers[0](found)
  assert (tmp_path / name).read_text().count("folder/a.png") == 2
  write_all(tmp_path, found, formats=(kind,))


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
