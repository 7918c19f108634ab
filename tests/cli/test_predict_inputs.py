"""mnc predict on videos, cameras and patterns, and options that do not fit each other."""

import json
import os
import pathlib

import cv2
import numpy as np
import PIL.Image
import pytest

from helpers import tiny
from helpers.clips import SIZE, Camera, trim_clip, write_clip
from mnc_jax.cli import predict
from mnc_jax.cli.commands import Predict
from mnc_jax.cli.parse import UsageError, parse
from mnc_jax.model.trained import Model
from mnc_jax.structs import Instances

pytestmark = pytest.mark.filterwarnings("ignore:.*range of intensities")

MODEL = Model({}, tiny.tiny_config(data={"buckets": ((64, 64),)}), ("cat", "dog"), (3, 7), {})


def find_left_and_top(models, image, **options):
  """Two instances: the left half, a cat, and above it in score the top third, a dog."""
  height, width = image.shape[:2]
  boxes = np.array([[0, 0, width / 2, height], [0, 0, width, height / 3]], np.float32)
  return Instances(boxes, np.array([1, 2]), np.array([0.6, 0.9]), np.ones((2, 4, 4), np.float32),
                   np.array([True, True]))


@pytest.fixture(autouse=True)
def model(monkeypatch):
  monkeypatch.setattr(predict, "load_models", lambda options, override: [MODEL])
  monkeypatch.setattr(predict, "find_instances", find_left_and_top)


def run(*arguments):
  predict.run(parse(Predict, "predict", [str(word) for word in arguments]), lambda config: config)


def read_results(folder):
  return json.loads((folder / "instances.json").read_text())


def test_a_video_becomes_a_video_and_results_by_frame(tmp_path, capsys):
  run(write_clip(tmp_path / "clip.avi"), "--output", tmp_path / "out")
  assert sorted(os.listdir(tmp_path / "out")) == ["clip.mp4", "instances.json"]
  results = read_results(tmp_path / "out")
  assert [record["image_id"] for record in results] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
  assert results[-1]["file_name"] == "clip_000005.png"
  assert results[0]["segmentation"]["size"] == list(SIZE)
  video = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
  assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (6, 10)
  out = capsys.readouterr().out
  assert "12 instances in 6 frames, written to" in out
  assert "12 of them are drawn in the video beside it" in out
  assert " frames/s after the first one" in out


def test_frames_in_every_format_up_to_a_number(tmp_path):
  clip = write_clip(tmp_path / "clip.avi")
  run("--write", "labels", "csv", "pictures", "labelme", clip, "--output", tmp_path / "out",
      "--max-frames", 2)
  names = ["clip_000000.png", "clip_000001.png"]
  assert sorted(os.listdir(tmp_path / "out")) == [*names, "instances.csv", "labelme", "labels"]
  assert sorted(os.listdir(tmp_path / "out" / "labels")) == names
  labels = np.asarray(PIL.Image.open(tmp_path / "out" / "labels" / names[1]))
  # The better instance is number 1, and on top.
  assert (labels[:16] == 1).all()
  assert (labels[16:, :32] == 2).all()
  frame = np.asarray(PIL.Image.open(tmp_path / "out" / "labelme" / names[1]))
  np.testing.assert_allclose(frame[20, 20], [50, 50, 70], atol=4)
  content = json.loads((tmp_path / "out" / "labelme" / "clip_000001.json").read_text())
  assert [shape["label"] for shape in content["shapes"]] == ["dog", "cat"]
  with pytest.raises(ValueError, match="labels/clip_000000.png is there already"):
    run("--write", "labels", clip, "--output", tmp_path / "out")


def test_a_damaged_video_is_reported_after_what_was_found(tmp_path):
  path = write_clip(tmp_path / "clip.avi", 30)
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
  with pytest.raises(ValueError, match=r"Not all frames could be used:\n.*only \d+ of its 30"):
    run(path, "--output", tmp_path / "out")
  assert read_results(tmp_path / "out")
  assert cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4")).read()[0]


def test_a_camera_ends_with_control_c(tmp_path, monkeypatch, capsys):
  real = cv2.VideoCapture
  camera = Camera(3, then=KeyboardInterrupt)
  monkeypatch.setattr(cv2, "VideoCapture", lambda source: camera(source) if source == 2 else
                      real(source))
  run("--camera", 2, "--output", tmp_path)
  assert [record["image_id"] for record in read_results(tmp_path)] == [0, 0, 1, 1, 2, 2]
  assert "6 instances in 3 frames" in capsys.readouterr().out
  assert camera.released
  assert real(str(tmp_path / "camera_2.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) >= 3


def test_control_c_before_the_first_frame_is_an_interruption(tmp_path, monkeypatch):
  def interrupt(*args, **options):
    raise KeyboardInterrupt
  monkeypatch.setattr(predict, "find_instances", interrupt)
  monkeypatch.setattr(cv2, "VideoCapture", Camera(3))
  with pytest.raises(KeyboardInterrupt):
    run("--camera", 0, "--output", tmp_path)
  assert read_results(tmp_path) == []


def test_images_of_a_pattern_in_several_formats(tmp_path, monkeypatch):
  for name in ("b1", "b2", "c1"):
    PIL.Image.new("RGB", (60, 40)).save(tmp_path / f"{name}.png")
  monkeypatch.chdir(tmp_path)
  run("--output", "out", "--write", "csv", "labelme", "b?.png")
  assert sorted(os.listdir("out/labelme")) == ["b1.json", "b1.png", "b2.json", "b2.png"]
  lines = pathlib.Path("out/instances.csv").read_text().splitlines()
  assert [line.split(",")[:4] for line in lines[1:]] == [
      ["b1.png", "0", "1", "dog"], ["b1.png", "0", "2", "cat"], ["b2.png", "1", "1", "dog"],
      ["b2.png", "1", "2", "cat"]]


def test_what_label_images_cannot_hold_is_counted(tmp_path, monkeypatch, capsys):
  def find_twice(models, image, **options):
    found = find_left_and_top(models, image)
    return found._replace(boxes=found.boxes[[0, 0]])
  PIL.Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
  run("--write", "labels", "--output", tmp_path / "out", tmp_path / "a.png")
  assert "without a pixel" not in capsys.readouterr().out
  monkeypatch.setattr(predict, "find_instances", find_twice)
  run("--write", "labels", "--output", tmp_path / "out2", tmp_path / "a.png")
  assert ("Instances without a pixel in their label image, since better ones cover them: 1."
          in capsys.readouterr().out)


def test_an_image_that_a_format_cannot_hold_is_named_and_the_others_are_written(
    tmp_path, monkeypatch):
  for name in ("a", "b"):
    PIL.Image.new("RGB", (60, 40)).save(tmp_path / f"{name}.png")
  (tmp_path / "out" / "labelme").mkdir(parents=True)
  (tmp_path / "out" / "labelme" / "a.png").write_bytes(b"something else")
  with pytest.raises(ValueError, match="Not all formats could be written:\n.*a.png: "
                     ".*/labelme/a.png is another image of that name"):
    run("--write", "labelme", "csv", "--output", tmp_path / "out", tmp_path / "a.png",
        tmp_path / "b.png")
  assert (tmp_path / "out" / "labelme" / "b.json").exists()
  assert not (tmp_path / "out" / "labelme" / "a.json").exists()


@pytest.mark.parametrize(("line", "message"), [
    ("a.mp4 b.mp4 --output o", "a.mp4: a video is run alone, by its name"),
    ("a.png b.MOV --output o", "b.MOV: a video is run alone"),
    ("*.mp4 --output o", "[*].mp4: a video is run alone"),
    ("a.png --camera 0 --output o", "--camera takes a number from 0, and no images"),
    ("--camera -1 --output o", "--camera takes a number from 0"),
    ("a.png --max-frames 5 --output o", "--max-frames is a number above 0, for a video"),
    ("a.mp4 --max-frames -5 --output o", "--max-frames is a number above 0"),
    ("a.mp4 --ground-truth x.json --output o", "--ground-truth is for images"),
    ("a.png --write labels --ground-truth x.json --output o", "--write coco or csv"),
    ("a.png --write video --output o", "--write video needs a video"),
    ("a.png --output o --write", "--write needs one or more of pictures, coco, labels, csv"),
    ("a.png --output o --min-score 50", "--min-score is 50.0: it must be from 0 to 1"),
    ("a.png --output o --min-score nan", "--min-score is nan: it must be from 0 to 1"),
    ("--camera 0", "give --output DIR"),
    ("--camera 0 --self-check", "give neither --output nor images")])
def test_options_that_do_not_fit(line, message):
  with pytest.raises(UsageError, match=message):
    run(*line.split())


def test_the_ground_truth_is_not_overwritten(tmp_path):
  PIL.Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
  annotations = tmp_path / "instances.json"
  annotations.write_text("{}")
  with pytest.raises(ValueError, match="instances.json would be overwritten, but is an input"):
    run("--output", tmp_path, "--write", "coco", "--ground-truth", annotations, tmp_path / "a.png")
  assert annotations.read_text() == "{}"


def test_a_trimmed_video_is_no_error(tmp_path):
  clip = trim_clip(write_clip(tmp_path / "clip.mp4", 30, codec="mp4v"), 1000)
  with pytest.warns(UserWarning, match="only 10 of its 30 frames could be decoded: it is trimmed"):
    run(clip, "--output", tmp_path / "out")
  assert len(read_results(tmp_path / "out")) == 20


def test_a_bare_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write_clip(tmp_path / "10:30.avi")
  run("10:30.avi", "--output", ".")
  assert len(read_results(tmp_path)) == 12
  assert (tmp_path / "10:30.mp4").stat().st_size


def test_a_video_is_not_overwritten_by_its_own_drawing(tmp_path):
  clip = write_clip(tmp_path / "clip.mp4", codec="mp4v")
  with pytest.raises(ValueError, match="clip.mp4 would be overwritten, but is an input"):
    run(clip, "--output", tmp_path)
