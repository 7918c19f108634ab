"""mnc train, evaluate, predict and export on a small COCO-format set."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings

import cv2
import jax
import numpy as np
import pytest

from helpers.toy_run import write_toy_set
from mnc_jax import cli, weights
from mnc_jax.cli import replay
from mnc_jax.training import checkpoint, loop, run_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with four images of one square each, their annotations and a config file."""
  folder = tmp_path_factory.mktemp("scripts")
  write_toy_set(folder)
  return folder


def run(script, *arguments):
  """Runs a script; returns its status and all it printed."""
  finished = subprocess.run([sys.executable, "-m", "mnc_jax", script, *map(str, arguments)],
                            capture_output=True, text=True, check=False)
  return finished.returncode, finished.stdout + finished.stderr


def run_here(script, *arguments):
  """Does what `run` does in this process: no new import, and what is compiled is used again."""
  printed, status = io.StringIO(), 0
  with (pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed)):
    # As Ctrl-C ends a process.
    monkeypatch.setattr(os, "_exit", sys.exit)
    # Set by the command line; restored afterwards.
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    try:
      cli.run(script, arguments=[str(x) for x in arguments])
    except SystemExit as stopped:
      status = stopped.code
  return status, f"{printed.getvalue()}{status}"


@contextlib.contextmanager
def printed_warnings():
  """Lets warnings be printed, as in a process of its own, instead of raised."""
  with warnings.catch_warnings():
    warnings.simplefilter("default")
    warnings.showwarning = lambda *warning: sys.stderr.write(warnings.formatwarning(*warning[:4]))
    yield


@pytest.fixture(scope="module")
def workdir(place):
  """A run of two steps."""
  status, text = run_here("train", "--config", place / "config.py", "--workdir", place / "run",
                     "--train.evaluate-every", 2, "--train.evaluate-images", 3)
  assert status == 0, text
  assert "Done: 2 steps" in text
  assert re.search(r"Step 2: mAP\^r at IoU \.5 0\.\d{3}, at \.7 0\.\d{3}, loss \d+\.\d{3} on 3 "
                   "images", text)
  return place / "run"


def test_training_writes_checkpoints_config_and_logs(workdir):
  assert {"1", "2"} <= {p.name for p in (workdir / "checkpoints").iterdir()}
  config = json.loads((workdir / "config.json").read_text())
  assert config["model"]["num_categories"] == 2
  content = b"".join(log.read_bytes() for log in (workdir / "logs").iterdir())
  for name in (b"loss_1", b"loss_5", b"learning_rate", b"gradient_norm", b"images_per_second"):
    assert b"train/" + name in content


def test_validation_writes_scores_losses_and_pictures_and_keeps_the_best(workdir):
  content = b"".join(log.read_bytes() for log in (workdir / "logs").iterdir())
  for name in (b"mean_ap_r_50", b"mean_ap_r_70", b"loss_1", b"loss_5", b"predictions"):
    assert b"validation/" + name in content
  assert [p.name for p in (workdir / "best" / "checkpoints").iterdir()] == ["2"]
  with checkpoint.open_checkpoints(workdir / "best") as best:
    scores = checkpoint.saved_scores(best)
  assert 0 <= scores["mean_ap_r_50"] <= 1
  parts = sum(scores[f"loss_{stage}"] for stage in range(1, 6))
  np.testing.assert_allclose(scores["loss"], parts, rtol=1e-5)
  # It is a workdir of its own.
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load_run(workdir / "best")[0],
               checkpoint.load_run(workdir)[0])


def test_going_on_from_the_last_checkpoint_equals_not_stopping(place, workdir):
  copy, whole = shutil.copytree(workdir, place / "copy"), place / "whole"
  for folder in (copy, whole):
    status, text = run_here("train", "--config", place / "config.py", "--workdir", folder,
                            "--train.num_steps", 3)
    assert status == 0, text
    assert "Done: 3 steps" in text
    assert ("Resuming from the checkpoint of step 2" in text) == (folder is copy)
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load_run(copy)[0],
               checkpoint.load_run(whole)[0])


@pytest.mark.parametrize(("step", "message"), [
    (2, "resumes from the checkpoint of step 2."), (None, "before the first checkpoint")])
def test_an_interruption_tells_what_is_left(place, workdir, monkeypatch, step, message):
  def stop(*arguments):
    raise KeyboardInterrupt
  monkeypatch.setattr(loop, "train", stop)
  status, text = run_here("train", "--config", place / "config.py", "--train.num-steps", 9,
                          "--workdir", workdir if step else place / "new")
  assert status != 0
  assert "Interrupted" in text
  assert message in text


def test_a_broken_image_among_many_is_skipped_and_counted(place):
  content = json.loads((place / "instances.json").read_text())
  content["images"].append({"id": 5, "file_name": "5.png", "height": 64, "width": 64})
  (place / "images" / "5.png").write_bytes(b"not an image")
  (place / "five.json").write_text(json.dumps(content))
  # A batch of four a step of five images in all: five steps see the broken one.
  with printed_warnings():
    status, text = run_here("train", "--config", place / "config.py", "--workdir", place / "broken",
                            "--data.train-annotations", place / "five.json", "--train.num_steps", 5,
                            "--train.checkpoint-every", 0)
  (place / "images" / "5.png").unlink()
  assert status == 0, text
  assert "Done: 5 steps" in text
  assert text.count("warning: skipped in training, 1 so far: image") == 1
  assert "5.png cannot be decoded" in text


def test_a_loss_that_is_not_finite_stops_with_step_and_term(place, workdir):
  params, config, categories, _ = checkpoint.load_run(workdir)
  # Finite, but what is made of it is not: infinity times 0.
  stage = jax.tree.map(lambda x: np.full_like(x, 3e38), params["mask_stage"])
  weights.save_safetensors(place / "nan.safetensors", params | {"mask_stage": stage}, {})
  status, text = run_here("train", "--config", place / "config.py", "--workdir", place / "nan",
                          "--train.init-weights", place / "nan.safetensors")
  assert status != 0
  assert "Traceback" not in text
  assert "training stopped at step 1: gradient_norm = nan, loss = nan, loss_2 = nan" in text
  assert "loss_1" not in text
  assert "Its images: [" in text
  batch = place / "nan" / "not_finite" / "step_1.npz"
  assert f"mnc replay {batch} --workdir {place / 'nan'}" in text


def test_a_step_that_was_not_finite_can_be_looked_into(place):
  batch = place / "nan" / "not_finite" / "step_1.npz"
  status, text = run_here("replay", batch, "--workdir", place / "nan")
  assert status == 0, text
  rows = [line.split() for line in text.splitlines()]
  head = rows.index(["image", "loss", "loss_1", "loss_2", "loss_3", "loss_4", "loss_5"])
  table = rows[head + 1:head + 5]
  assert sorted(int(row[0]) for row in table) == [1, 2, 3, 4]
  assert all(np.isfinite(float(row[2])) and row[3] == "nan" for row in table)
  assert "entries of the gradient of mask_stage/mask/kernel are not finite" in text
  (place / "other.npz").write_bytes(b"")
  status, text = run_here("replay", place / "other.npz", "--workdir", place / "nan")
  assert status != 0
  assert "other.npz is not a batch that training saved" in text


def test_an_image_that_a_batch_has_twice_has_two_rows():
  """Each place is flipped and sampled by itself, and one of them may be the bad one."""
  lines = replay.describe([(7, {"loss": float("nan")}), (7, {"loss": 1.0})], {}).splitlines()
  assert [line.split() for line in lines[1:3]] == [["7", "nan"], ["7", "1"]]
  assert replay.describe([], {}).splitlines()[-1] == "All gradients are finite."


def test_weights_for_other_categories_need_a_word(place, workdir, monkeypatch):
  def stop(*arguments):
    raise KeyboardInterrupt
  monkeypatch.setattr(loop, "train", stop)
  params = checkpoint.load_run(workdir)[0]
  layers = {name: {part: np.zeros((*array.shape[:-1], array.shape[-1] * 2), np.float32)
                   for part, array in params["category_stage"][name].items()}
            for name in ("category", "box_category", "box_deltas")}
  file = place / "four.safetensors"
  weights.save_safetensors(
      file, params | {"category_stage": params["category_stage"] | layers}, {})
  arguments = ("train", "--config", place / "config.py", "--workdir", place / "four",
               "--train.init-weights", file)
  _, text = run_here(*arguments)
  assert "has 4 categories (background included), but the model has 2" in text
  assert "--train.init-reset-categories of mnc train" in text
  _, text = run_here(*arguments, "--train.init-reset-categories")
  assert "arrays loaded, 6 newly initialised (category_stage)" in text
  assert "Interrupted" in text


def test_evaluation_writes_the_scores_and_the_report(place, workdir):
  status, text = run_here("evaluate", "--workdir", workdir, "--report", place / "report",
                          "--report-images", 3)
  assert status == 0, text
  scores = json.loads((workdir / "evaluation.json").read_text())
  assert scores["images"] == 4
  assert 0 <= scores["mean_ap_r_70"] <= scores["mean_ap_r_50"] <= 1
  assert scores["instances"] == {"square": 4}
  for part in (scores["boxes"]["0.5"]["ap_area"], *scores["per_category"].values()):
    assert list(part) == ["square"]
  assert {"segm", "bbox", "boundary"} == set(scores["per_category"])
  table = (workdir / "evaluation.txt").read_text()
  assert table in text
  assert table.splitlines()[2].split()[:2] == ["square", "4"]
  head, square, mean = csv.reader((workdir / "evaluation.csv").read_text().splitlines())
  assert len(head) == len(square) == len(mean) == 2 + 8 + 3 * 12
  assert square[0] == "square"
  assert float(mean[head.index("AP^b@0.5 11point")]) == scores["mean_ap_b_50"]
  assert f"The worst images: {place / 'report' / 'index.html'}" in text
  page = (place / "report" / "index.html").read_text()
  assert page.count('<article class="card"') == 3
  assert "Errors on instances.json" in page
  assert f"<dd>{scores['mean_ap_r_50']:.3f}</dd>" in page
  (path,) = (place / "report" / "images").glob("0001_ground*.jpg")
  picture = cv2.imread(str(path))
  # The dark ground of the images, not the grey of a missing one.
  np.testing.assert_allclose(picture[-5:, -5:], 30, atol=3)


def test_exported_weights_find_the_same_instances_as_the_run(place, workdir):
  status, text = run_here("export", "--workdir", workdir, "--output", place / "w.safetensors")
  assert status == 0, text
  found = []
  for source in (("--workdir", workdir), ("--weights", place / "w.safetensors")):
    output = place / f"out{source[0]}"
    status, text = run_here("predict", *source, "--output", output, "--min-score", 0,
                            place / "images" / "1.png", place / "images" / "3.png")
    assert status == 0, text
    found.append(json.loads((output / "instances.json").read_text()))
    assert sorted(p.name for p in output.glob("*.png")) == ["1.png", "3.png"]
  assert found[0] == found[1]
  assert found[0]
  assert {record["category_id"] for record in found[0]} == {7}
  assert found[0][0]["segmentation"]["size"] == [64, 64]


def test_the_self_check_passes_where_the_numbers_are_and_fails_where_they_are_not(
    place, workdir):
  path = place / "checked.safetensors"
  status, text = run_here("export", "--workdir", workdir, "--output", path,
                          "--dtype", "float16")
  assert status == 0, text
  status, text = run_here("predict", "--weights", path, "--self-check")
  assert status == 0, text
  assert text.count(" ok\n") == 12
  assert "Self-check passed on cpu. The model: random weights, trained for 2 steps" in text
  params, metadata = weights.load_safetensors(path)
  assert str(place) not in metadata["config"]
  params["mask_stage"]["mask"]["kernel"] *= -1
  weights.save_safetensors(path, params, metadata)
  status, text = run_here("predict", "--weights", path, "--self-check")
  assert status != 0
  assert "self-check failed on cpu: masks (stage 2) deviates by" in text
  assert "DIFFERENT" in text


@pytest.mark.parametrize(("script", "arguments", "message"), [
    ("predict", ["--workdir", "{place}/run", "--self-check"],
     "no numbers to compare are stored"),
    ("predict", ["--workdir", "{place}/run"], "give --output DIR, and images or folders of them"),
    ("evaluate", ["--workdir", "{place}/nowhere"], "nowhere"),
    ("evaluate", ["--workdir", "{place}/images"], "no checkpoint"),
    ("evaluate", ["--workdir", "{place}/run", "--report", "{place}/r", "--report-images", "0"],
     "--report-images is 0: it must be 1 or more"),
    ("predict", ["--weights", "{place}/none.safetensors", "--output", "{place}/o", "x.png"],
     "none.safetensors: no such file"),
    ("train", ["--config", "{place}/none.py", "--workdir", "{place}/w"],
     "none.py: no such file, and no shipped config"),
    ("train", ["--config", "{place}/config.py", "--workdir", "{place}/w",
                  "--train.no_such_field", "1"], "no_such_field"),
    ("train", ["--config", "{place}/config.py", "--workdir", "{place}/w",
                  "--train.num_steps", "many"], "many"),
    ("train", ["--config", "{place}/config.py", "--workdir", "{place}/w",
                  "--train.num_steps", "-5"], "train.num_steps is -5: it must be 1 or more"),
    ("train", ["--config", "{place}/config.py", "--workdir", "{place}/w",
                  "--data.train-annotations", "{place}/none.json"], "none.json"),
])
def test_mistakes_end_with_a_sentence_that_names_them(place, script, arguments, message):
  status, text = run_here(script, *(argument.format(place=place) for argument in arguments))
  assert status != 0
  assert message in text
  assert "Traceback" not in text


def test_a_config_that_does_not_fit_the_checkpoint_names_it(place, workdir):
  status, text = run_here("train", "--config", place / "config.py", "--workdir", workdir,
                          "--model.dense_width", 48, "--train.num_steps", 4)
  assert status != 0
  assert "Traceback" not in text
  assert "category_stage/" in text
  assert "shape (64, 2)" in text
  assert "(96, 2)" in text


def test_a_missing_or_broken_photograph_is_named(place, workdir):
  (place / "broken.png").write_bytes(b"not an image")
  # The first in a process of its own, whose status is the real one.
  for call, names in ((run, ["missing.png"]), (run_here, ["broken.png", "images/2.png"])):
    status, text = call("predict", "--workdir", workdir, "--output", place / "o",
                        *(place / name for name in names))
    assert status != 0
    assert names[0] in text
    assert "Traceback" not in text
  # The other image is not lost.
  assert (place / "o" / "2.png").is_file()
  assert json.loads((place / "o" / "instances.json").read_text())


def test_a_photograph_is_never_drawn_over(place, workdir):
  before = (place / "images" / "1.png").read_bytes()
  status, text = run_here("predict", "--workdir", workdir, "--output", place / "images",
                          place / "images")
  assert status != 0
  assert "1.png would be overwritten" in text
  assert (place / "images" / "1.png").read_bytes() == before


def test_overrides_that_do_not_fit_the_weights_are_refused(workdir):
  for field, change, message in (
      ("model.mask_size", 14, "was 12 in training; set to 14 here it would change what"),
      ("train.seed", 5, "was 0 in training; set to 5 here it would have no effect"),
      ("inference.soft-nms-sigma", 0.3, "no effect without inference.nms soft")):
    status, text = run_here("evaluate", "--workdir", workdir, f"--{field}", change)
    assert status != 0
    assert "Traceback" not in text
    assert message in text


def test_two_runs_in_one_workdir_are_kept_apart(place, workdir):
  before = sorted(path.name for path in (workdir / "checkpoints").iterdir())
  with run_folder.claim(workdir):
    status, text = run_here("train", "--config", place / "config.py", "--workdir", workdir,
                            "--train.num_steps", 9)
    # Others may read meanwhile.
    assert checkpoint.load_run(workdir)[3]["step"] == 2
  assert status != 0
  assert f"another run is training in {workdir} (process {os.getpid()} on " in text
  assert "Traceback" not in text
  assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == before


def test_other_categories_cannot_be_resumed(place, workdir):
  content = json.loads((place / "instances.json").read_text())
  content["categories"][0]["name"] = "circle"
  (place / "other.json").write_text(json.dumps(content))
  status, text = run_here("train", "--config", place / "config.py", "--workdir", workdir,
                          "--data.train_annotations", place / "other.json", "--train.num_steps", 9)
  assert status != 0
  assert "square" in text
  assert "circle" in text
