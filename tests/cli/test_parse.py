"""Command lines: configs by name or file, options in any order, paths, and wrong options."""

import pathlib

import pytest

from mnc_jax import cli, configs
from mnc_jax.cli.commands import COMMANDS, Evaluate, ImportWeights, Predict, Train
from mnc_jax.cli.parse import ConfigError, UsageError, find_details, load_config, parse

TRAIN = ("--config", "shapes", "--workdir", "w")


def read(kind, *arguments):
  (command,) = (name for name, known in COMMANDS.items() if known is kind)
  return parse(kind, command, list(arguments))


def test_a_config_is_a_shipped_name_or_a_file_also_in_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "mine.py").write_text(
      "from mnc_jax.configs.shapes import get_config\n")
  for name in ("shapes", str(tmp_path / "mine.py"), "~/mine.py", "experiments/configs/shapes.py"):
    assert load_config(name) == configs.get("shapes")
  assert read(Train, *TRAIN).experiment == configs.get("shapes")
  assert load_config("release") == configs.get("release")


@pytest.mark.parametrize(("name", "message"), [
    ("shape", "--config shape: no such file, and no shipped config is called 'shape'. Did you mean "
     "shapes?"),
    ("none.py", "none.py: no such file.* Shipped are: coco_mini_overfit, .*, voc_vgg16_release"),
    ("gs://bucket/mine.py", "gs://bucket/mine.py: only a local path works here"),
    ("{folder}/wrong.py", r"wrong.py, line 4: NameError: name 'nothing' is not defined"),
    ("{folder}/empty.py", "empty.py: it defines no function get_config"),
    ("{folder}/number.py", r"number.py: get_config\(\) returned int, not a mnc_jax.Config"),
    ("{folder}/exits.py", "exits.py, line 1: SystemExit: 3"),
    ("{folder}/adam.py", "adam.py, line 3: ValueError: TrainConfig.optimizer must be 'sgd' or"),
    ("{folder}/list.py", r"list.py, line 2: .*Config.buckets must be tuple.* found \[\(64, 64\)"),
])
def test_what_is_no_config_is_explained(tmp_path, name, message):
  (tmp_path / "wrong.py").write_text("\n\ndef get_config():\n  return nothing\n")
  (tmp_path / "empty.py").write_text("")
  (tmp_path / "number.py").write_text("get_config = lambda: 3\n")
  (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
  (tmp_path / "adam.py").write_text(
      "import mnc_jax\ndef get_config():\n  return mnc_jax.TrainConfig(optimizer='adam')\n")
  (tmp_path / "list.py").write_text(
      "import mnc_jax\ndata = mnc_jax.DataConfig(buckets=[(64, 64)])\n")
  with pytest.raises(ConfigError, match=message):
    load_config(name.format(folder=tmp_path))


IMAGES = (pathlib.Path("a.png"), pathlib.Path("2"), pathlib.Path("./-b.png"))


@pytest.mark.parametrize("line", [
    "a.png 2 ./-b.png --workdir w --inference.scales 1 1.5 --output out --inference.flip",
    "--workdir w --inference.scales 1 1.5 --output out --inference.flip a.png 2 ./-b.png",
    "--workdir w a.png --inference.scales 1 1.5 --output out 2 --inference.flip ./-b.png",
    "--inference.flip a.png 2 --output=out --inference.scales 1 1.5 ./-b.png --workdir w",
    "--inference.flip a.png --output=out --inference.scales 1 1.5 --workdir=w -- 2 -b.png"])
def test_options_stand_before_between_and_after_the_images(line):
  options = read(Predict, *line.split())
  assert options.images == IMAGES
  assert (options.model.workdir, options.output) == (pathlib.Path("w"), pathlib.Path("out"))
  assert options.experiment.inference.scales == (1.0, 1.5)
  assert options.experiment.inference.flip


@pytest.mark.parametrize("line", [
    "a.png --write coco labels 2 ./-b.png", "--write coco labels -- a.png 2 -b.png",
    "a.png 2 --write coco labels --min-score .3 ./-b.png"])
def test_the_formats_end_where_images_begin(line):
  options = read(Predict, "--weights", "shapes", "--output", "out", *line.split())
  # A number may end a list of numbers, but no list of formats.
  assert (options.write, options.images) == (("coco", "labels"), IMAGES)


@pytest.mark.parametrize("line", [
    "vgg.npz --config shapes --output w --train.log-to wandb clu --train.profile-steps 2 3",
    "--train.log-to wandb clu vgg.npz --config shapes --train.profile-steps 2 3 --output w"])
def test_a_list_of_names_ends_where_no_such_name_follows(line):
  options = read(ImportWeights, *line.split())
  assert options.source == pathlib.Path("vgg.npz")
  assert options.experiment.train.log_to == ("wandb", "clu")
  assert options.experiment.train.profile_steps == (2, 3)


def test_tuples_negative_numbers_and_both_spellings():
  data = read(Train, *TRAIN, "--data.buckets", "128", "96", "96", "128", "--data.image_ids", "-4",
              "7", "--data.no-flip", "--data.scale-jitter", "0.5", "2").experiment.data
  assert data.buckets == ((128, 96), (96, 128))
  assert (data.image_ids, data.flip, data.scale_jitter) == ((-4, 7), False, (0.5, 2.0))
  assert read(Train, *TRAIN, "--data.buckets").experiment.data.buckets == ()
  train = read(Train, *TRAIN, "--train.anchor-border", "-2.5", "--train.proposals.pre_nms", "9",
               "--train.decay-steps").experiment.train
  assert (train.anchor_border, train.proposals.pre_nms, train.decay_steps) == (-2.5, 9, ())


def test_a_home_folder_is_expanded_in_every_path(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  options = read(Evaluate, "--workdir", "~/run", "--ensemble", "~/a", "--ensemble", "b",
                 "--output=~/out", "--report", "~/report", "--results", "~/results.json")
  assert options.model.workdir == tmp_path / "run"
  assert options.model.ensemble == ("~/a", "b")  # Expanded when they are loaded.
  assert (options.output, options.report, options.results) == (
      tmp_path / "out", tmp_path / "report", tmp_path / "results.json")
  assert read(Predict, "--workdir", "w", "~/a.png").images == (tmp_path / "a.png",)


def test_a_bucket_stays_a_bucket():
  options = read(Train, *TRAIN[:3], "gs://bucket/run")
  assert str(options.workdir) == "gs://bucket/run"
  assert str(options.workdir / "best") == "gs://bucket/run/best"
  assert not isinstance(options.workdir, pathlib.Path)


@pytest.fixture
def fail(capsys, monkeypatch):
  """A function that runs a wrong command line and returns what it printed."""
  monkeypatch.setenv("COLUMNS", "80")
  def call(command, *arguments):
    with pytest.raises(SystemExit) as stopped:
      cli.run(command, arguments=arguments)
    captured = capsys.readouterr()
    assert stopped.value.code == 2
    assert not captured.out
    assert "Traceback" not in captured.err
    lines = captured.err.splitlines()
    assert len(lines) <= 16
    return " ".join(captured.err.translate(dict.fromkeys(map(ord, "│╭╮╰╯─"), " ")).split())
  return call


HELP = "mnc train --config shapes --help"


@pytest.mark.parametrize(("arguments", "messages"), [
    (["--train.num-stepz", "5"], ["--train.num-stepz", "meant: --train.num-steps INT", HELP]),
    (["--trian.num-steps", "5"], ["--trian.num-steps", "meant: --train.num-steps INT", HELP]),
    (["--train.num-steps", "many"], ["--train.num-steps", "'many'", HELP]),
    (["--train.num-steps", "-5"], ["train.num_steps is -5: it must be 1 or more", HELP]),
    (["--train.optimizer", "adam"], ["'adam'", "('sgd', 'adamw')", HELP]),
    (["--data.buckets", "3"], ["--data.buckets", HELP]),
    (["--model.backbone-norm", "group"], ["no effect without a ResNet", HELP]),
    (["--model.roi-size", "7"], ["model.roi_size is 7: it must be even", HELP]),
    (["stray"], ["Unrecognized options: stray", HELP]),
    (["--workdir", "http://host/run"], ["http://host/run: only a local path or gs:// works"]),
    (["--coordinator", "host:1"], ["--num-processes and --process-id go together", HELP])])
def test_a_wrong_option_is_named_and_the_hint_leads_to_the_help(fail, arguments, messages):
  text = fail("train", *TRAIN, *arguments)
  for message in messages:
    assert message in text


@pytest.mark.parametrize(("command", "arguments", "messages"), [
    ("train", ["--workdir", "w"], ["--config NAME|FILE", "mnc train --help"]),
    ("train", ["--config", "nope", "--workdir", "w"], ["'nope'", "All options: mnc train --help"]),
    ("predict", ["--weights", "shapes", "--inference.flop", "a.png"],
     ["meant: --inference.flip", "mnc predict --weights shapes --help"]),
    ("predict", ["--weights", "shapes", "--self-check", "a.png"], ["--self-check runs a stored"]),
    ("predict", ["--weights", "a", "--workdir", "b", "--self-check"], ["either --workdir DIR or"]),
    ("predict", ["--output", "out", "s3://bucket/a.png"], ["s3://bucket/a.png: only a local path"]),
    ("predict", ["--output", "out", "https://host/a.png"],
     ["https://host/a.png: only a local path works here; download it yourself",
      "curl -LO 'https://host/a.png'"]),
    ("predict", ["--output", "out", "--write=masks", "a.png"], ["invalid choice 'masks'"]),
    ("evaluate", ["--weights", "shapes", "--train.seed", "5"], ["no effect", "mnc evaluate"]),
    ("export", ["--workdir", "w", "--output", "gs://b/m.safetensors"], ["only a local path"])])
def test_wrong_options_of_other_commands(fail, command, arguments, messages):
  text = fail(command, *arguments)
  for message in messages:
    assert message in text


def test_hints_quote_what_a_shell_would_split():
  assert find_details(Train, ["--config", "my config.py"]) == " --config 'my config.py'"
  assert find_details(Evaluate, ["--workdir=w", "--config", "x"]) == " --workdir w"


def test_values_are_checked_before_anything_else():
  with pytest.raises(UsageError, match="inference.min_score is -1.0"):
    read(Predict, "--inference.min-score", "-1")


def test_a_loss_that_is_not_registered_is_found_before_anything_is_read(tmp_path):
  with pytest.raises(UsageError, match="train.mask_loss is 'dice', which is not known here"):
    cli.call("train", ["--config", "shapes", "--workdir", str(tmp_path / "run"),
                       "--train.mask-loss", "dice"])
  assert not (tmp_path / "run").exists()
