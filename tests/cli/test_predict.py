"""mnc predict writes each image's results at once, and leaves out images that it cannot use."""

import errno
import io
import json

import cv2
import numpy as np
import pytest

from helpers import colored_discs, tiny
from mnc_jax.cli import predict
from mnc_jax.cli.predict_inputs import list_inputs
from mnc_jax.data.image_files import make_image_batch
from mnc_jax.evaluation.writers import coco, shared_file
from mnc_jax.model.trained import Model
from mnc_jax.structs import Instances

MODEL = Model({}, tiny.tiny_config(data={"buckets": ((32, 64),), "short_side": 32}),
              ("cat", "dog"), (3, 7), {})


def find_square(models, image, *, name, **options):
  """One instance that fills the image, if it fits into a bucket."""
  height, width = image.shape[:2]
  make_image_batch(image, models[0].config.data, image_id=0, name=name)
  return Instances(np.array([[0, 0, width, height]], np.float32), np.array([1]), np.array([0.75]),
                   np.ones((1, 4, 4), np.float32), np.array([True]))


def run_images(folder, model, paths, ids, *, formats=("pictures", "coco"), min_score=0.5):
  job = predict.Job([model], (3, 7), formats, folder, min_score)
  predict.predict_images(job, list_inputs(paths, ids, model.config.data))


def run(folder, monkeypatch, find):
  monkeypatch.setattr(predict, "find_instances", find)
  paths = [folder / f"{name}.png" for name in ("first", "narrow", "broken", "last")]
  for path, size in zip(paths, ((64, 64), (300, 30), None, (20, 64)), strict=True):
    if size:
      cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
  paths[2].write_bytes(b"no image")
  run_images(folder / "out", MODEL, paths, [0, 1, 2, 3])


def written(folder):
  return [record["image_id"] for record in
          json.loads((folder / "out" / "instances.json").read_text())]


def test_images_that_cannot_be_used_are_left_out_and_named(tmp_path, monkeypatch, capsys):
  with pytest.raises(ValueError, match="2 of 4 images were left out") as error:
    run(tmp_path, monkeypatch, find_square)
  assert (f"{tmp_path}/narrow.png is 64 x 6 (height x width) after scaling and fits into "
          "none of data.buckets ((32, 64),): add one of") in str(error.value)
  assert str(error.value).count("broken.png") == 1
  assert written(tmp_path) == [0, 3]
  assert "2 instances in 2 images" in capsys.readouterr().out


def test_the_first_image_that_uses_little_of_its_range_is_reported(
    tmp_path, monkeypatch, recwarn):
  monkeypatch.setattr(predict, "find_instances", find_square)
  paths = [tmp_path / f"{name}.png" for name in ("a", "b")]
  for path in paths:
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)  # 12 bits in 16.
    cv2.imwrite(str(path), np.stack([ramp] * 3, axis=-1))
  run_images(tmp_path / "out", MODEL, paths, [0, 1])
  (message,) = [str(warning.message) for warning in recwarn if "range" in str(warning.message)]
  assert message.startswith(f"{paths[0]} uses 6.2% of its range of intensities")


def test_images_that_may_have_more_instances_are_counted(tmp_path, monkeypatch, recwarn):
  def find(models, image, *, name, warn, **options):
    if "b" not in name.rpartition("/")[2]:
      warn(f"{name}: there may be more")
    return find_square(models, image, name=name, **options)

  monkeypatch.setattr(predict, "find_instances", find)
  paths = [tmp_path / f"{name}.png" for name in "abcd"]
  for path in paths:
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
  run_images(tmp_path / "out", MODEL, paths, range(4))
  run_images(tmp_path / "out", MODEL, paths[:2], range(2))
  assert [str(warning.message) for warning in recwarn] == [
      f"{paths[0]}: there may be more (the same in 2 other images)",
      f"{paths[0]}: there may be more"]


def test_what_was_found_before_an_end_is_a_complete_file(tmp_path, monkeypatch):
  def interrupt(models, image, **options):
    if image.shape[0] == 20:
      raise KeyboardInterrupt
    return find_square(models, image, **options)

  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, monkeypatch, interrupt)
  assert written(tmp_path) == [0]


def test_an_image_for_which_memory_is_too_small_is_left_out(tmp_path, monkeypatch):
  def find(models, image, **options):
    if image.shape[0] == 64:
      raise MemoryError
    return find_square(models, image, **options)

  with pytest.raises(ValueError, match="first.png: it does not fit into memory with what is found"):
    run(tmp_path, monkeypatch, find)
  assert written(tmp_path) == [3]


def test_an_image_that_cannot_be_written_for_lack_of_memory_is_named():
  def write(found):
    raise MemoryError
  done = predict.Done([], [], [], [], [], [], [])
  found = predict.Found("a", "a.png", None, np.zeros((4, 4, 3), np.uint8), [], [])
  predict.write_one(done, write, found)
  assert done.unwritten == ["a.png: not enough memory to write it"]


def test_results_are_a_complete_list_at_any_time(tmp_path):
  path = tmp_path / "some.json"
  with coco.open_results(path) as add:
    assert json.loads(path.read_text()) == []
    for number in range(3):
      add([{"score": number}, {"score": number}])
      add([])
      assert [row["score"] for row in json.loads(path.read_text())] == [
          row for row in range(number + 1) for _ in range(2)]


def test_results_are_a_complete_list_after_the_disk_was_full(tmp_path, monkeypatch):
  class Disk(io.FileIO):
    def write(self, data):
      if self.tell() + len(data) <= 40:
        return super().write(data)
      if self.tell() < 40:
        return super().write(data[:40 - self.tell()])
      raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(shared_file, "_open_file", lambda path: Disk(path, "w"))
  with coco.open_results(tmp_path / "some.json") as add:
    add([{"score": 0.5}])
    with pytest.raises(OSError, match="No space left"):
      add([{"score": 0.25}, {"score": 0.125}])
    add([{"score": 0.75}])
  assert [row["score"] for row in json.loads((tmp_path / "some.json").read_text())] == [0.5, 0.75]


def test_no_instance_is_an_empty_list(tmp_path):
  with coco.open_results(tmp_path / "none.json") as write:
    write([])
  assert json.loads((tmp_path / "none.json").read_text()) == []


@pytest.mark.filterwarnings("ignore:.*range of intensities")
def test_large_images_are_found_in_tiles_and_announced_once(tmp_path, monkeypatch, capsys):
  colored_discs.replace_network(monkeypatch)
  image, masks = colored_discs.draw_discs((700, 800), [(300, 300, 48), (520, 240, 30)])
  paths = [tmp_path / f"{name}.png" for name in ("a", "b", "small")]
  for path in paths:
    cv2.imwrite(str(path), (image if path.stem != "small" else image[:200, :200])[..., ::-1])
  run_images(tmp_path / "out", colored_discs.make_model(), paths, [4, 5, 6])
  records = json.loads((tmp_path / "out" / "instances.json").read_text())
  assert [record["image_id"] for record in records] == [4, 4, 5, 5]
  assert {record["category_id"] for record in records} == {3}
  assert {tuple(record["segmentation"]["size"]) for record in records} == {(700, 800)}
  x, y, width, height = records[0]["bbox"]
  np.testing.assert_allclose([x, y, x + width, y + height], [252, 252, 348, 348], atol=5)
  picture = cv2.imread(str(tmp_path / "out" / "a.png"))[..., ::-1]
  changed = np.any(picture != image, axis=2)
  assert changed[masks.any(axis=0)].mean() > 0.9
  assert not changed[400:].any()
  out = capsys.readouterr()
  assert (out.out + out.err).count("so it is also run in tiles") == 1
  assert "a.png (800 x 700) would be shrunk by 12.5" in out.out + out.err
  assert "2 of the images were run in tiles." in out.out
