"""Sets that are prepared once: what is kept, what is skipped, and what is left when it fails."""

import dataclasses
import functools
import io
import json
import pathlib
import pickle
import signal
import subprocess
import sys

import cv2
import numpy as np
import PIL.Image
import pytest

from helpers.toy_sets import coco_content
from mnc_jax.coco.faults import Fault
from mnc_jax.coco.rle import encode_mask
from mnc_jax.config import DataConfig
from mnc_jax.data import load_source, make_ground_truth, prepare, set_folder, summarize
from mnc_jax.data.images import ImageOptions
from mnc_jax.data.listing import Content, Entry, ImageNotes, Listing
from mnc_jax.data.prepared import builder, index
from mnc_jax.data.readers.coco import load_coco
from mnc_jax.data.records import make_annotation, restrict


def _photograph(seed):
  pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
  return cv2.imencode(".jpg", pixels)[1].tobytes()


def _entry(image_id, *, annotations=1, bad=0, error=None):
  return Entry(image_id, f"{image_id}.jpg",
               functools.partial(_read, image_id, annotations, bad, error))


def _read(image_id, annotations, bad, error, report):
  for place in range(bad):
    report(Fault("annotation", f"annotation {place} of image {image_id} is bad"))
  if error:
    raise error
  rle = encode_mask(np.eye(30, 40, k=image_id % 7))
  return Content(_photograph(image_id), (30, 40), [
      make_annotation(image_id * 1000 + place, image_id, 7 + 4 * (place % 2), rle, place == 2)
      for place in range(annotations)])


def _prepare(folder, train, validation=None, **options):
  splits = {"train": train, "validation": validation or [_entry(900)]}
  categories = [{"id": 7, "name": "cat"}, {"id": 11, "name": "dog"}]
  builder.prepare_set("coco", lambda source, report: Listing(categories, splits), "there",
                          folder, **options)
  return set_folder("coco", folder)


def test_records_come_back_as_they_were(tmp_path):
  folder = _prepare(tmp_path, [_entry(2 ** 53 - 1, annotations=3), _entry(1, annotations=0)])
  source = index.open_split(folder, "train")
  assert source.image_ids.tolist() == [2 ** 53 - 1, 1]
  assert source.sizes.tolist() == [[30, 40]] * 2
  assert source.instance_counts.tolist() == [3, 0]
  assert source.crowd_counts.tolist() == [1, 0]
  assert (source.category_names, source.category_ids) == (("cat", "dog"), (7, 11))
  assert source.file_names == (f"{2 ** 53 - 1}.jpg", "1.jpg")
  expected = _read(2 ** 53 - 1, 3, 0, None, None)
  assert source.read_annotations(0) == expected.annotations
  assert source.read_annotations(1) == []
  record = source[0]
  assert record.labels.tolist() == [1, 2, 1]
  assert record.crowd.tolist() == [False, False, True]
  np.testing.assert_array_equal(
      record.image, cv2.imdecode(np.frombuffer(expected.image, np.uint8), 1)[..., ::-1])
  assert make_ground_truth(source)["images"][1] == {
      "id": 1, "height": 30, "width": 40, "file_name": "1.jpg"}


def test_encoded_bytes_are_stored_as_they_are(tmp_path):
  folder = _prepare(tmp_path, [_entry(5)])
  rows = index.open_split(folder, "train").read_image.args[0]
  assert rows[0]["image"] == _photograph(5)


def test_many_files(tmp_path, monkeypatch):
  monkeypatch.setattr(builder, "_SHARD", 4)
  bad = ValueError("bad")
  # All of the second four are bad: the last files are short or empty.
  train = [_entry(i, error=bad if 4 <= i < 8 else None) for i in range(12)]
  folder = _prepare(tmp_path, train, [_entry(i) for i in range(20, 28)], allow_bad=True)
  assert len(list(folder.glob("*-train.array_record*"))) == 3
  # Two full files, and nothing left over.
  assert index.open_split(folder, "validation").image_ids.tolist() == list(range(20, 28))
  source = pickle.loads(pickle.dumps(index.open_split(folder, "train")))
  assert source.image_ids.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
  for row, image_id in enumerate(source.image_ids):
    assert source.read_annotations(row)[0]["image_id"] == image_id
    assert source[row].image_id == image_id


def test_opening_reads_no_record(tmp_path, monkeypatch):
  folder = _prepare(tmp_path, [_entry(i, annotations=i) for i in range(5)])
  for path in folder.glob("*.array_record*"):
    path.write_bytes(b"")
  assert index.open_split(folder, "train").instance_counts.tolist() == [0, 1, 2, 3, 4]


def test_bad_items_are_skipped_and_reported(tmp_path):
  train = [_entry(i, annotations=2) for i in range(200)]
  train[3] = _entry(3, error=ValueError("image 3 is cut off"))
  train[5] = _entry(5, annotations=2, bad=1)
  train[7] = _entry(7, annotations=30)
  train[9] = _entry(8, annotations=2)
  folder = _prepare(tmp_path, train)
  assert index.open_split(folder, "train").image_ids.tolist() == [
      i for i in range(200) if i not in (3, 9)]
  lines = summarize(folder).splitlines()
  assert lines[0].split() == ["images", "instances", "crowd", "per", "image:", "min", "median",
                              "max"]
  assert lines[1].split() == ["train", "198", "424", "1", "2", "2.0", "30"]
  assert lines[2].split() == ["validation", "1", "1", "0", "1", "1.0", "1"]
  assert lines[5].split() == ["cat", "7", "212", "1"]
  assert lines[6].split() == ["dog", "11", "212", "0"]
  assert lines[8:] == ["Skipped: 2 images and 1 annotation.", "  image 3 is cut off",
                       "  annotation 0 of image 5 is bad",
                       "  8.jpg has the image id 8 of 8.jpg"]


def test_the_index_has_each_box_but_crowd(tmp_path):
  folder = _prepare(tmp_path, [_entry(1, annotations=3), _entry(2, annotations=0), _entry(3)])
  found = index.read_index(folder, "train")
  # Diagonals of 30 x 40 from (0, 1) and (0, 3); the third annotation is crowd.
  np.testing.assert_array_equal(found["box_sizes"], [[30, 30], [30, 30], [30, 30]])
  assert found["box_images"].tolist() == [0, 0, 2]
  source = index.open_split(folder, "train")
  for ids, count in (([1, 2, 3], 3), ([3, 1], 3), ([2], 0)):
    part = restrict(source, ids)
    assert sorted(zip(*part.objects, strict=True)) == sorted(
        (row, annotation["category_id"]) for row in range(len(ids))
        for annotation in part.read_annotations(row) if not annotation["iscrowd"])
    assert len(part.objects[0]) == count


def test_a_set_without_categories_is_rejected(tmp_path):
  listing = Listing([], {"train": [_entry(1, annotations=0)]})
  builder.prepare_set("coco", lambda source, report: listing, "there", tmp_path)
  lines = summarize(set_folder("coco", tmp_path)).splitlines()
  assert lines[3:] == ["instances of      id       train", "", "Skipped: nothing."]


@pytest.mark.parametrize(("images", "annotations", "message"), [
    (2, 0, "2 of 101 images cannot be used"), (0, 2, "2 of 103 annotations cannot be used")])
def test_more_than_one_in_a_hundred(tmp_path, images, annotations, message):
  train = [_entry(i) for i in range(99 - images)]
  train += [_entry(100 + i, error=ValueError(f"image {i} is bad")) for i in range(images)]
  train.append(_entry(99, bad=annotations))
  with pytest.raises(ValueError, match=message):
    _prepare(tmp_path, train)
  assert not list((tmp_path / "coco").iterdir())
  assert index.open_split(_prepare(tmp_path, train, allow_bad=True), "validation")


def test_a_split_without_images(tmp_path):
  bad = [_entry(1, error=ValueError("image 1 is cut off"))]
  with pytest.raises(ValueError, match="coco: one image alone: two are needed"):
    _prepare(tmp_path, [])
  with pytest.raises(ValueError, match="no image of the split 'train' can be used:"):
    _prepare(tmp_path, bad, allow_bad=True)
  with pytest.raises(ValueError, match="'validation' can be used:\n  image 1 is cut off"):
    _prepare(tmp_path, [_entry(2)], bad, allow_bad=True)
  assert not list((tmp_path / "coco").iterdir())


def test_is_prepared_once(tmp_path):
  folder = _prepare(tmp_path, [_entry(1)])
  builder.prepare_set("coco", None, "there", tmp_path)  # The source is not even listed.
  assert index.open_split(folder, "train").image_ids.tolist() == [1]


def test_a_set_that_another_process_finished_first_is_used(tmp_path, monkeypatch):
  entries = [_entry(number) for number in (1, 2, 3)]
  write = builder.SetBuilder.download_and_prepare

  def lose_the_race(self):
    write(self)
    raise OSError("Directory not empty")

  monkeypatch.setattr(builder.SetBuilder, "download_and_prepare", lose_the_race)
  assert len(index.open_split(_prepare(tmp_path, entries), "train")) == 3
  monkeypatch.setattr(builder.SetBuilder, "download_and_prepare",
                      lambda self: (_ for _ in ()).throw(OSError("no space left")))
  with pytest.raises(OSError, match="no space left"):
    _prepare(tmp_path / "other", entries)


def test_pages_below_0_are_rejected(tmp_path):
  with pytest.raises(ValueError, match="--page is -1: pages are counted from 1"):
    prepare("coco", tmp_path, tmp_path / "data", pixels=ImageOptions(page=-1))


def test_pixels_are_those_that_were_prepared(tmp_path):
  def read(orientation, report):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    PIL.Image.new("RGB", (40, 30)).save(file, "JPEG", exif=exif)
    return Content(file.getvalue(), (30, 40), [], ImageNotes(orientation))

  entries = [Entry(n, f"{n}.jpg", functools.partial(read, n)) for n in range(1, 9)]
  stored = ImageOptions(exif="stored")
  folder = _prepare(tmp_path, entries, pixels=stored)
  source = index.open_split(folder, "train")
  assert source.read_image(5).shape == (30, 40, 3)
  assert ("7 of 9 images have an EXIF orientation, for example '2.jpg' (2): they are ignored "
          "(--exif stored)") in summarize(folder)
  with pytest.raises(ValueError, match=r"was prepared with --exif stored, not upright: use anoth"):
    builder.prepare_set("coco", None, "there", tmp_path)
  config = DataConfig(dataset="coco", data_dir=str(tmp_path))
  with pytest.raises(ValueError, match=r"with --exif stored, but data.exif is upright: give "
                                       r"--data.exif stored, or prepare the set again"):
    load_source(config, "eval")
  assert len(load_source(dataclasses.replace(config, exif="stored"), "eval")) == 1


def test_a_set_of_an_earlier_version_is_not_read(tmp_path):
  (tmp_path / "coco" / "1.3.0").mkdir(parents=True)
  with pytest.raises(ValueError, match=r"is not prepared in .*/1\.4\.0 \(what is there is "
                                       r"of another version, 1\.3\.0\): run mnc prepare"):
    load_source(DataConfig(dataset="coco", data_dir=str(tmp_path)), "eval")


def test_interrupted_leaves_nothing(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    _prepare(tmp_path, [_entry(1), _entry(2, error=KeyboardInterrupt())])
  assert not list((tmp_path / "coco").iterdir())


def test_killed_leaves_nothing_under_its_name(tmp_path):
  program = (
      "import sys, time; from mnc_jax.data.prepared import builder\n"
      "from mnc_jax.data.listing import Content, Entry, Listing\n"
      "def read(report):\n  print('reading', file=sys.__stdout__, flush=True)\n  time.sleep(600)\n"
      "first = Entry(1, '1', lambda report: Content(b'image', (1, 1), []))\n"
      "listing = Listing([], {'train': [first, Entry(2, '2', read)]})\n"
      f"builder.prepare_set('coco', lambda *_: listing, '', {str(tmp_path)!r})")
  with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL) as process:
    assert process.stdout.readline() == b"reading\n"
    process.send_signal(signal.SIGKILL)
  assert not set_folder("coco", tmp_path).exists()
  left, = (tmp_path / "coco").iterdir()
  assert left.name.startswith("incomplete.")
  assert len(index.open_split(_prepare(tmp_path, [_entry(1)]), "train")) == 1


def _write_coco(folder):
  content = coco_content()
  content["annotations"][1]["iscrowd"] = 0  # A third of crowd regions would be reported.
  for split in ("train", "val"):
    (folder / f"instances_{split}.json").write_text(json.dumps(content))
  for image in content["images"]:
    size = image["height"], image["width"], 3
    cv2.imwrite(str(folder / image["file_name"]), np.full(size, 70, np.uint8))
  return folder


def test_config_chooses_between_prepared_and_direct(tmp_path):
  folder = _write_coco(tmp_path)
  config = DataConfig(dataset="coco", data_dir=str(tmp_path / "data"))
  with pytest.raises(ValueError, match=r"'coco' is not prepared in .*: run "
                     r"mnc prepare --dataset coco --source DIR --data-dir .*directly; or, if it is "
                     "prepared elsewhere, give that folder by --data.data-dir"):
    load_source(config, "train")
  older = tmp_path / "data" / "coco" / "1.2.0"
  older.mkdir(parents=True)
  with pytest.raises(ValueError, match=r"what is there is of another version, 1\.2\.0\): run"):
    load_source(config, "train")
  prepare("coco", folder, config.data_dir)
  assert summarize(set_folder("coco", config.data_dir)).splitlines()[-1].startswith(
      "Warning: coco: 3 of 3 images of the split validation are in train too (the same bytes), for "
      "example 'a.png' and 'a.png'")
  paths = {"eval_annotations": str(folder / "instances_val.json"), "eval_images": str(folder)}
  direct = load_source(DataConfig(dataset="coco", **paths), "eval")
  source = load_source(config, "eval")
  assert (source.name, direct.name) == ("coco validation", str(folder / "instances_val.json"))
  assert make_ground_truth(source) == make_ground_truth(direct)
  with pytest.raises(ValueError, match="data.train_annotations is missing"):
    load_source(DataConfig(dataset="coco", data_dir=config.data_dir, **paths), "train")


def test_sets_without_an_instance_are_not_trained_on(tmp_path):
  folder = _write_coco(tmp_path)
  content = json.loads((folder / "instances_val.json").read_text()) | {"annotations": []}
  (folder / "none.json").write_text(json.dumps(content))
  places = {f"{split}_{what}": str(folder / name) for split in ("train", "eval")
            for what, name in (("annotations", "none.json"), ("images", ""))}
  config = DataConfig(dataset="coco", **places)
  with pytest.raises(ValueError, match="none.json has .* images?, but no instance"):
    load_source(config, "train")
  assert not load_source(config, "eval").instance_counts.any()


def test_messages_name_what_is_wrong(tmp_path):
  with pytest.raises(ValueError, match="dataset is 'shapes', but files of a COCO set are"):
    load_source(DataConfig(dataset="shapes", eval_images="photographs"), "train")
  config = DataConfig(dataset="sbd", data_dir=str(tmp_path))
  with pytest.raises(ValueError, match=f"'sbd' is not prepared .* --data-dir {tmp_path}; or, if"):
    load_source(config, "train")
  with pytest.raises(ValueError, match="there is no folder gone"):
    prepare("sbd", "gone", tmp_path)
  with pytest.raises(ValueError, match="'voc', which is not known .* coco, label_images, sbd"):
    prepare("voc", tmp_path, tmp_path)


def test_no_tensorflow(tmp_path):
  program = (
      "import sys; from mnc_jax.data import *; from mnc_jax.config import DataConfig\n"
      f"prepare('coco', {str(_write_coco(tmp_path))!r}, {str(tmp_path)!r})\n"
      f"config = DataConfig(dataset='coco', data_dir={str(tmp_path)!r})\n"
      "assert len(load_source(config, 'train')[0].labels) == 2\n"
      "assert 'tensorflow' not in sys.modules")
  subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def _check_reference(name, origin, data_dir, counts):
  """Prepares a set, and checks its counts and its image of most instances."""
  prepare(name, origin, data_dir)
  assert "Skipped: nothing." in summarize(set_folder(name, data_dir))
  config = DataConfig(dataset=name, data_dir=str(data_dir))
  sources = [load_source(config, split) for split in ("train", "eval")]
  assert [(len(s), s.instance_counts.sum()) for s in sources] == counts
  source = sources[0]
  most = int(source.instance_counts.argmax())
  record = source[most]
  assert len(record.labels) == source.instance_counts[most]
  assert record.masks.any(axis=(1, 2)).all()
  rows = source.read_image.args[0]
  assert rows[most]["image"] == pathlib.Path(origin, source.file_names[most]).read_bytes()
  return sources


@pytest.mark.parametrize(("name", "folder", "counts"), [
    ("sbd", "sbd_mini", [(40, 119), (24, 91)]),
    ("label_images", "nuclei", [(160, 6724), (60, 2355)])])
def test_reference_data(shared_dir, tmp_path, name, folder, counts):
  _check_reference(name, shared_dir / "data" / folder, tmp_path, counts)


def test_coco_keeps_ids_boxes_and_areas(shared_dir, tmp_path):
  folder = shared_dir / "data" / "coco_mini"
  _, source = _check_reference("coco", folder, tmp_path, [(288, 2383), (158, 1424)])
  ground_truth = make_ground_truth(source)
  direct = make_ground_truth(load_coco(folder / "instances_val.json", folder / "val"))
  assert ground_truth["annotations"] == direct["annotations"]
  assert ground_truth["categories"] == direct["categories"]
  assert [image["file_name"] for image in ground_truth["images"]] == [
      f"val/{image['file_name']}" for image in direct["images"]]


def test_hundreds_of_instances(tmp_path):
  (tmp_path / "images").mkdir()
  (tmp_path / "labels").mkdir()
  labels = np.arange(1, 401, dtype=np.uint16).reshape(20, 20).repeat(3, 0).repeat(3, 1)
  for name in "ab":
    cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.zeros((60, 60, 3), np.uint8))
    PIL.Image.fromarray(labels).save(tmp_path / "labels" / f"{name}.png")
  prepare("label_images", tmp_path, tmp_path)
  source = load_source(DataConfig(dataset="label_images", data_dir=str(tmp_path)), "eval")
  record = source[0]
  assert record.masks.shape == (400, 60, 60)
  assert record.masks.sum(axis=(1, 2)).tolist() == [9] * 400
