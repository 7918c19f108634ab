"""mnc --help, and mnc COMMAND --help: everything is there, with its docstring and default."""

import dataclasses
import importlib.metadata
import re
import subprocess
import sys

import numpy as np
import pytest

from mnc_jax import cli, configs
from mnc_jax.cli.commands import COMMANDS
from mnc_jax.cli.fields import field_docs
from mnc_jax.config import Config

# Fields of `model` that a trained model takes.
FREE_FIELDS = ("model.roi_method", "model.roi_chunk", "model.compute_dtype")
# Fields of `data` that only training reads.
TRAINING_FIELDS = ("data.batch_size", "data.flip", "data.turn", "data.invert", "data.copy_paste",
                   "data.scale_jitter", "data.color_jitter", "data.crop_share", "data.crop_size",
                   "data.repeat_below")


@pytest.fixture(params=[80, 100])
def width(request, monkeypatch):
  """The width of the terminal."""
  monkeypatch.setenv("COLUMNS", str(request.param))
  return request.param


@pytest.fixture
def show(capsys, width):
  """A function that returns the help of a command on one line; its lines are checked."""
  def call(*arguments, status=0):
    with pytest.raises(SystemExit) as stopped:
      cli.run(arguments[0], arguments=[*arguments[1:], "--help"])
    assert stopped.value.code == status
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines()[1:])) <= width
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())
  return call


def leaves(part, prefix=""):
  """Yields the path, the docstring and the value of each field of a config."""
  for field in dataclasses.fields(part):
    value, path = getattr(part, field.name), f"{prefix}{field.name}"
    if dataclasses.is_dataclass(value):
      yield from leaves(value, f"{path}.")
    else:
      yield path, field_docs(type(part))[field.name], value


def show_default(value):
  if isinstance(value, tuple):
    return " ".join(str(x) for x in np.array(value, object).ravel()) or "none"
  return str(value) if value != "" else "''"


def check_fields(text, config, *, trained=False):
  """All fields; of a trained model only those that it takes."""
  found = [field for field in leaves(config) if not trained or may_change(field[0])]
  assert len(found) >= (39 if trained else 100)
  for path, doc, value in found:
    flag = f"--{path.replace('_', '-')}"
    assert re.search(rf"{re.escape(flag)}[ ,]", text), flag
    assert f"{doc} (default: {show_default(value)})" in text, flag


@pytest.mark.parametrize("name", ["shapes", "voc_vgg16_release"])
def test_every_field_is_listed_with_the_default_of_the_chosen_config(show, name):
  text = show("train", "--config", name)
  check_fields(text, configs.get(name))
  for section in ("model", "data", "train", "train.proposals", "inference",
                  "inference.proposals"):
    assert f" {section} options " in text
  assert f"usage: mnc train --config {name}" in text


def may_change(path):
  """Returns whether a trained model takes another value of a field."""
  return path in FREE_FIELDS or path.split(".")[0] in ("data", "inference") and (
      path not in TRAINING_FIELDS)


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "import-weights"])
def test_without_a_config_the_defaults_are_those_of_the_library_and_it_says_so(show, command):
  text, trained = show(command), command in ("evaluate", "predict")
  check_fields(text, Config(), trained=trained)
  assert ("Every field of the config is an option." in text) != trained
  option = "--weights" if trained else "--config"
  assert ("Its defaults below are those of mnc_jax.Config(); those of shapes are shown by mnc "
          f"{command} {option} shapes --help.") in text


def test_the_defaults_of_a_trained_model_are_those_it_was_trained_with(show):
  text = show("predict", "--weights", "shapes")
  assert "tiles: per tile; all of them are merged. (default: 20)" in text
  assert "mnc_jax.Config()" not in text
  assert "--ensemble NAME|DIR|FILE" in text


def test_what_a_trained_model_rejects_is_not_among_its_options(show):
  text = show("evaluate")
  assert set(re.findall(r"--(model[.a-z-]+)", text)) == {
      path.replace("_", "-") for path in FREE_FIELDS}
  assert "--train." not in text
  for path in TRAINING_FIELDS:
    assert not re.search(rf"--{path.replace('_', '-')}[ ,]", text), path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_has_its_docstring(show, command):
  text = show(command)
  for field in dataclasses.fields(COMMANDS[command]):
    if field.name not in ("model", "hosts", "experiment"):
      assert field_docs(COMMANDS[command])[field.name] in text
  assert (("--coordinator HOST:PORT" in text) == (command in ("train", "evaluate")))


def run(*arguments):
  return subprocess.run([sys.executable, "-m", "mnc_jax", *arguments], capture_output=True,
                        text=True, check=False)


def test_the_program_alone_lists_its_commands(width):
  asked, bare = run("--help"), run()
  assert (asked.returncode, bare.returncode) == (0, 2)
  assert asked.stdout == bare.stderr
  assert not asked.stderr
  assert not bare.stdout
  assert re.findall(r"• (\S+)", asked.stdout) == list(COMMANDS)
  assert max(map(len, asked.stdout.splitlines()[1:])) <= width


def test_an_unknown_command_is_named_with_those_there_are():
  finished = run("trian")
  assert finished.returncode == 2
  assert "Unrecognized options: trian" in finished.stderr
  assert "run mnc --help" in finished.stderr
  assert len(finished.stderr.splitlines()) < 12


def test_the_version_is_that_of_the_distribution():
  finished = run("--version")
  assert finished.stdout.startswith(f"mnc {importlib.metadata.version('mnc_jax')}, jax ")


@pytest.mark.parametrize("line", ["--help", "nonsense", "train --config shapes --help",
                                  "predict --inference.flop", "prepare"])
def test_help_and_mistakes_do_not_wait_for_jax(line):
  program = ("import sys; from mnc_jax import cli\ntry: cli.main()\n"
             "finally: print('loaded:', *({'jax', 'flax', 'orbax', 'etils', 'PIL'} & "
             "set(sys.modules)), file=sys.stderr)")
  finished = subprocess.run([sys.executable, "-c", program, *line.split()], capture_output=True,
                            text=True, check=False)
  assert finished.returncode == (0 if "--help" in line else 2)
  assert finished.stderr.splitlines()[-1] == "loaded:"


def test_the_scripts_of_experiments_are_the_commands(width):
  script = subprocess.run([sys.executable, "experiments/train.py", "--config",
                           "experiments/configs/shapes.py", "--help"],
                          capture_output=True, text=True, check=True).stdout
  assert "usage: mnc train --config experiments/configs/shapes.py" in script
  assert "Number of steps of the run. (default: 700)" in script
