"""A workdir and a data set in a bucket (gs://); what cannot be in one is refused in a sentence."""

import json
import shutil

import jax
import numpy as np
import PIL.Image
import pytest

from helpers.fake_bucket import serve_buckets
from helpers.toy_run import write_toy_set
import mnc_jax
from mnc_jax import cli
from mnc_jax.config import Config, DataConfig, TrainConfig
from mnc_jax.config.paths import as_local_path, as_path, as_workdir, is_remote
from mnc_jax.config.validation import check_values
from mnc_jax.data import load_source, prepare
from mnc_jax.training import checkpoint

RUN = "gs://bucket/runs/a"
# In three stages, which compile sooner.
STAGES = ("--train.num-stages", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with a small data set, and `buckets` with an empty bucket."""
  path = tmp_path_factory.mktemp("disk")
  write_toy_set(path)
  (path / "buckets" / "bucket").mkdir(parents=True)
  with serve_buckets(path / "buckets"):
    yield path


@pytest.fixture
def train(folder, monkeypatch):
  """A function that trains into the bucket, from a folder in which nothing may be written."""
  monkeypatch.chdir(folder)
  before = sorted(path.name for path in folder.iterdir())
  def call(*options):
    cli.call("train", ["--config", str(folder / "config.py"), "--workdir", RUN, *STAGES, *options])
    assert sorted(path.name for path in folder.iterdir()) == before
  return call


def test_a_run_in_a_bucket_is_trained_resumed_and_used(folder, train, tmp_path, capsys, recwarn):
  bucket = folder / "buckets" / "bucket"
  train("--train.evaluate-every", "2")
  assert f"{RUN} cannot be locked" in str(recwarn.pop(UserWarning).message)
  assert json.loads((bucket / "runs/a/config.json").read_text())["train"]["num_steps"] == 2
  assert (bucket / "runs/a/best/validated").read_text() == "2 0"
  # A save that was killed has no such file, and does not count.
  shutil.copytree(bucket / "runs/a/checkpoints/2", bucket / "runs/a/checkpoints/3")
  (bucket / "runs/a/checkpoints/3/commit_success.txt").unlink()
  train("--train.num-steps", "5")
  assert "from the checkpoint of step 2" in capsys.readouterr().out
  assert {path.name for path in (bucket / "runs/a/checkpoints").iterdir()} == {"3", "4", "5"}
  steps = [json.loads(line)["step"]
           for line in (bucket / "runs/a/metrics.jsonl").read_text().splitlines()]
  assert steps == [1, 2, 2, 3, 4, 5]

  cli.call("train", ["--config", str(folder / "config.py"), "--workdir", str(tmp_path), *STAGES,
                     "--train.num-steps", "5"])
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load_run(RUN)[0],
               checkpoint.load_run(tmp_path)[0])

  cli.call("evaluate", ["--workdir", RUN, "--report", f"{RUN}/report", "--results",
                        f"{RUN}/results.json"])
  assert json.loads((bucket / "runs/a/evaluation.json").read_text())["images"] == 4
  assert "results.json" in {path.name for path in (bucket / "runs/a").iterdir()}
  assert "<html" in (bucket / "runs/a/report/index.html").read_text()
  cli.call("predict", ["--workdir", RUN, "--output", "gs://bucket/out",
                       str(folder / "images" / "1.png")])
  assert {path.name for path in (bucket / "out").iterdir()} == {"1.png", "instances.json"}
  assert not list(folder.rglob("gs:*"))


def test_weights_go_out_of_a_bucket_and_into_it(folder, capsys):
  cli.call("export", ["--workdir", RUN, "--output", str(folder / "model.safetensors")])
  cli.call("import-weights", [str(folder / "model.safetensors"), "--config",
                              str(folder / "config.py"), "--output", "gs://bucket/runs/b"])
  assert "mnc train --config" in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load_run(RUN)[0],
               checkpoint.load_run("gs://bucket/runs/b")[0])
  with pytest.raises(ValueError, match="gs://bucket/runs/b already has checkpoints"):
    checkpoint.check_free("gs://bucket/runs/b")


def test_a_prepared_set_in_a_bucket_is_read(folder, tmp_path):
  for name in ("images", "labels"):
    (tmp_path / name).mkdir()
    for number in range(4):
      PIL.Image.fromarray(np.full((8, 8), number + 1, np.uint8)).save(
          tmp_path / name / f"{number}.png")
  prepare("label_images", tmp_path, tmp_path / "data")
  shutil.copytree(tmp_path / "data", folder / "buckets" / "bucket" / "data")
  there, here = (load_source(DataConfig(dataset="label_images", data_dir=path), "train")
                 for path in ("gs://bucket/data", str(tmp_path / "data")))
  assert there.image_ids.tolist() == here.image_ids.tolist()
  np.testing.assert_array_equal(there[0].image, here[0].image)
  np.testing.assert_array_equal(there[0].masks, here[0].masks)


ONLY_LOCAL = "only a local path works here; copy the files there yourself, or mount the bucket"


@pytest.mark.parametrize(("config", "message"), [
    (Config(data=DataConfig(train_annotations="gs://b/x.json")),
     f"data.train_annotations gs://b/x.json: {ONLY_LOCAL}"),
    (Config(data=DataConfig(eval_images="s3://b/x")), f"data.eval_images s3://b/x: {ONLY_LOCAL}"),
    (Config(train=TrainConfig(init_weights="gs://b/x.pth")),
     f"train.init_weights gs://b/x.pth: {ONLY_LOCAL}"),
    (Config(data=DataConfig(data_dir="s3://b/data")),
     "data.data_dir s3://b/data: only a local path or gs:// works here")])
def test_paths_of_a_config_that_cannot_be_in_a_bucket(config, message):
  with pytest.raises(ValueError, match=message):
    check_values(config)


def test_weight_files_are_local():
  with pytest.raises(ValueError, match=f"^gs://b/x.safetensors: {ONLY_LOCAL}"):
    mnc_jax.load("gs://b/x.safetensors")


def test_sets_are_prepared_on_a_disk(folder, tmp_path):
  with pytest.raises(ValueError, match=f"data.data_dir gs://bucket/none: {ONLY_LOCAL}"):
    load_source(DataConfig(dataset="shapes", data_dir="gs://bucket/none"), "train")
  with pytest.raises(ValueError, match=f"--source gs://bucket/none: {ONLY_LOCAL}"):
    prepare("label_images", "gs://bucket/none", tmp_path)


def test_a_home_folder_in_a_config_is_expanded(folder, monkeypatch):
  monkeypatch.setenv("HOME", str(folder))
  data = DataConfig(train_annotations="~/instances.json", train_images="~/images")
  assert len(load_source(data, "train")) == 4
  with pytest.raises(ValueError, match=f"not prepared in {folder}/data/coco"):
    load_source(DataConfig(data_dir="~/data"), "train")


def test_paths():
  assert [is_remote(path) for path in ("gs://b/x", "s3://b", "gs:/b", "a:b/c", "/x", "~/x")] == [
      True, True, True, False, False, False]
  assert str(as_path("s3://b/x") / "y") == "s3://b/x/y"
  for path in ("gs:/b/x", "http://b/x", "az://b/x"):
    with pytest.raises(ValueError, match=f"^{path}: only a local path or gs:// or s3:// "):
      as_path(path)
  with pytest.raises(ValueError, match="^--workdir s3://b/x: only a local path or gs:// "):
    as_workdir("s3://b/x")
  with pytest.raises(ValueError, match=f"^--output gs://b: {ONLY_LOCAL}"):
    as_local_path("gs://b", name="--output")
