"""The commands, config fields and files that the documents and headers of configs name exist."""

import configparser
import json
import pathlib
import re
import shlex

import pytest
import tyro

from benchmarks.__main__ import parse_arguments
from experiments import ablation
from mnc_jax.cli.commands import COMMANDS
from mnc_jax.cli.fields import count_values
from mnc_jax.cli.parse import parse
from mnc_jax.config.validation import check_effects

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "experiments" / "README.md",
             *(path for path in sorted((ROOT / "docs").rglob("*.md"))
               if ROOT / "docs" / "copies" not in path.parents),  # Made when pages are built.
             *sorted((ROOT / "notebooks").glob("*.ipynb"))]
HEADERS = sorted((ROOT / "mnc_jax" / "configs").glob("[!_]*.py"))
# `circles` is a reader that a notebook registers.
PLACEHOLDERS = {"COMMAND": "train", "NAME": "shapes", "...": "shapes", "circles": "shapes"}
# Other ways to start `mnc`.
WRAPPERS = {r"docker run [^`\n]* mnc_jax +(?=[a-z])": "mnc ",
            r"experiments/run_tpu_pod\.sh [^-`\s]\S* \S+ (?=-)": "mnc train --join-hosts ",
            r"python3? -m mnc_jax ": "mnc "}


def read(path):
  """Returns the text of a document or a header, of a notebook that of the Markdown cells."""
  text = path.read_text()
  if path.suffix == ".ipynb":
    text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"]
                       if cell["cell_type"] == "markdown")
  if path.suffix == ".py":
    text = re.search(r"^Command:(.*)^Hardware:", text, re.MULTILINE | re.DOTALL)[1]
  return text.replace("\\\n", " ")


def find_lines(text, start):
  """Returns the words of command lines, in blocks or inline, that begin with `start`."""
  found = re.findall(rf"^ *(?:[A-Z_]+=\S+ +)*({start} .*)|`({start} [^`]+)`", text, re.MULTILINE)
  return [shlex.split(line or inline, comments=True) for line, inline in found]


def find_commands(path):
  """Returns the commands in a document or a header, without those that are only named."""
  text = read(path)
  for wrapper, start in WRAPPERS.items():
    text = re.sub(wrapper, start, text)
  return [command for command in find_lines(text, "mnc") if len(command) > 2]


@pytest.mark.parametrize("path", DOCUMENTS + HEADERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_parse(path):
  for words in find_commands(path):
    _, command, *arguments = (PLACEHOLDERS.get(word, word) for word in words)
    try:
      options = parse(COMMANDS[command], command, arguments)
      if command == "train":
        check_effects(options.experiment)
    except SystemExit as end:
      if end.code or arguments[-1] != "--help":
        pytest.fail(shlex.join(words))


def test_documented_fields_exist():
  known = set(count_values(COMMANDS["train"]))
  for path in DOCUMENTS + HEADERS:
    named = re.findall(r"--(?:model|data|train|inference)\.[a-z0-9.-]*\w", read(path))
    assert not set(named) - known, path


def find_extras(text):
  """Returns the extras that commands install: pip install ".[NAME]", "mnc_jax[NAME,NAME]"."""
  found = re.findall(r"(?:[\"']\.|\bmnc_jax)\[([\w, ]+)\]", text)
  return {name.strip() for names in found for name in names.split(",")}


def test_documented_extras_exist():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  known = set(setup["options.extras_require"])
  for path in (*DOCUMENTS, *(ROOT / "mnc_jax").rglob("*.py"), *(ROOT / "experiments").glob("*.sh")):
    assert not find_extras(path.read_text()) - known, path
  assert {"cuda", "tpu"} <= find_extras((ROOT / "docs" / "guide" / "install.md").read_text())


def parse_benchmark(words):
  parse_arguments(words[3:])


def parse_ablation(words):
  tyro.cli(ablation.Options, args=words[2:], console_outputs=False)


@pytest.mark.parametrize(("start", "parse_words"), [
    ("python -m benchmarks", parse_benchmark), ("python experiments/ablation.py", parse_ablation)])
def test_documented_scripts_parse(start, parse_words):
  commands = [words for path in DOCUMENTS for words in find_lines(read(path), start)]
  assert len(commands) > 1
  for words in commands:
    try:
      parse_words(words)
    except SystemExit:
      pytest.fail(shlex.join(words))


@pytest.mark.parametrize("text", [
    "docker run --rm -v \"$PWD:/work\" mnc_jax train --config shapes --workdir runs/a",
    "see `experiments/run_tpu_pod.sh TPU_NAME ZONE --config NAME --workdir DIR` for pods",
    "    A=1 python -m mnc_jax train --config shapes"])
def test_other_ways_to_start_mnc_are_found(text, tmp_path):
  path = tmp_path / "page.md"
  path.write_text(text)
  ((program, command, *_),) = find_commands(path)
  assert (program, command) == ("mnc", "train")


def test_documented_targets_of_make_exist():
  known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
  for path in DOCUMENTS:
    named = re.findall(r"^ *make (?:-C \S+ )?([a-z]+)|`make ([a-z]+)", read(path), re.MULTILINE)
    assert {block or inline for block, inline in named} <= known, path


def test_commands_are_found():
  assert all(find_commands(path) for path in HEADERS)
  guide = ROOT / "docs" / "guide"
  assert all(find_commands(path) for path in (ROOT / "README.md", *guide.glob("*.md")))
  assert sum(len(find_commands(path)) for path in DOCUMENTS) > 20


def test_documented_files_exist():
  folders = ("mnc_jax", "tests", "benchmarks", "experiments", "docs")
  paths = [*ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
  ends = tuple(f"/{path.relative_to(ROOT).as_posix()}" for path in paths)
  for path in DOCUMENTS:
    named = re.findall(r"`([\w/-]+\.(?:py|cfg|md)\b|\w+/[\w/]*\w(?=/`))", path.read_text())
    missing = {name for name in named if not any(end.endswith(f"/{name}") for end in ends)}
    assert not missing, path
