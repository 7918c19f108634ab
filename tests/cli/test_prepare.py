"""mnc prepare: the summary, faults by name, and that it does its work once."""

import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
import PIL.Image
import pytest

from mnc_jax import cli
from mnc_jax.cli import prepare
from mnc_jax.cli.commands import Prepare


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """Ten images with label images of three instances; the last image is cut off."""
  folder = tmp_path_factory.mktemp("source")
  for name in ("images", "labels"):
    (folder / name).mkdir()
  labels = np.array([[1, 1, 0, 2], [0, 0, 0, 3]], np.uint8)
  for number in range(10):
    PIL.Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
    cv2.imwrite(str(folder / "images" / f"{number}.jpg"), np.zeros((2, 4, 3), np.uint8))
  last = folder / "images" / "9.jpg"
  last.write_bytes(last.read_bytes()[:-10])
  (folder / "train.txt").write_text("\n".join("01234567"))
  (folder / "val.txt").write_text("8\n9\n")
  return folder


def test_bad_items_stop_it_unless_they_are_allowed(source, tmp_path, capsys):
  options = ["--dataset", "label_images", "--source", str(source), "--data-dir", str(tmp_path)]
  (tmp_path / "label_images" / "incomplete.ABC_1.0.0").mkdir(parents=True)
  finished = subprocess.run([sys.executable, "-m", "mnc_jax", "prepare", *options],
                            capture_output=True, text=True,
                            check=False)
  assert finished.returncode != 0
  assert "Traceback" not in finished.stderr
  assert "1 of 10 images cannot be used, more than 1%" in finished.stderr
  assert "9.jpg cannot be decoded: Truncated File Read" in finished.stderr
  assert "8/8" in finished.stderr  # The progress bar.
  assert "incomplete.ABC_1.0.0 is left from a preparation that was killed" in finished.stdout

  cli.call("prepare", [*options, "--allow-bad"])
  text = capsys.readouterr().out
  lines = [line.split() for line in text.splitlines()]
  assert ["train", "8", "24", "0", "3", "3.0", "3"] in lines
  assert ["validation", "1", "3", "0", "3", "3.0", "3"] in lines
  assert ["object", "1", "24", "3"] in lines
  assert ["Skipped:", "1", "image", "and", "0", "annotations."] in lines
  assert ("mnc train --config photographs --workdir runs/mine \\\n    --data.dataset label_images "
          f"--data.data-dir {tmp_path} \\\n    --data.short-side ") in text

  cli.call("prepare", options)
  again = capsys.readouterr().out
  assert "exists already: nothing was done" in again
  assert again.splitlines()[1:] == text.splitlines()[2:]

  # Nor the set of a list that has changed for the set of the new one.
  (source / "val.txt").write_text("8\n")
  with pytest.raises(ValueError, match=f"lists in {source} have changed since .* delete it"):
    cli.call("prepare", options)
  (source / "val.txt").write_text("8\n9\n")
  cli.call("prepare", options)

  # Another folder must not be taken for this one.
  other = [*options[:3], str(shutil.copytree(source, tmp_path / "other")), *options[4:]]
  with pytest.raises(ValueError, match=f"was prepared from {source}, not from .*other: use"):
    cli.call("prepare", other)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--dataset", "voc", "--source", "x"], "'voc', which is not known here: known are shapes"),
    (["--dataset", "sbd"], "--dataset sbd needs --source DIR"),
    (["--data-dir", "x"], "--dataset"),
])
def test_options_that_are_wrong(capsys, arguments, message):
  with pytest.raises(SystemExit) as stopped:
    cli.run("prepare", arguments=arguments)
  assert stopped.value.code == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--dataset", "sbd", "--source", "{source}/gone"], "there is no folder"),
    (["--dataset", "sbd", "--source", "{source}"], "neither the folders img and inst of SBD"),
    (["--dataset", "coco", "--source", "{source}"], r"needs one instances_train\*.json"),
])
def test_folders_that_are_wrong(source, tmp_path, arguments, message):
  with pytest.raises(ValueError, match=message):
    cli.call("prepare", [argument.format(source=source) for argument in arguments]
                 + ["--data-dir", str(tmp_path)])
  assert not list(tmp_path.iterdir())


def test_a_folder_with_a_space_is_one_argument_of_the_command():
  options = Prepare(dataset="coco", source=pathlib.Path("a"), data_dir=pathlib.Path("my data"),
                    channels=(1, 2, 3))
  assert prepare.train_options(options) == [
      "--data.dataset", "coco", "--data.data-dir", "my data", "--data.channels", "1", "2", "3"]
