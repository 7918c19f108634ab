"""The commands, config fields and files that the documents and headers of configs name exist."""

import pathlib
import re
import shlex

import pytest

from mnc_jax.cli.commands import COMMANDS
from mnc_jax.cli.fields import count_values
from mnc_jax.cli.parse import parse
from mnc_jax.config.validation import check_effects

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "experiments" / "README.md",
             *(path for path in sorted((ROOT / "docs").rglob("*.md"))
               if ROOT / "docs" / "copies" not in path.parents)]  # Made when pages are built.
HEADERS = sorted((ROOT / "mnc_jax" / "configs").glob("[!_]*.py"))
PLACEHOLDERS = {"COMMAND": "train", "NAME": "shapes"}


def find_commands(path):
  """Returns the commands in a document or a header, without those that are only named."""
  text = path.read_text().replace("\\\n", " ")
  if path.suffix == ".py":
    text = re.search(r"^Command:(.*)^Hardware:", text, re.MULTILINE | re.DOTALL)[1]
  found = re.findall(r"^ *(?:[A-Z_]+=\S+ +)*(mnc .*)|`(mnc [^`]+)`", text, re.MULTILINE)
  commands = [shlex.split(line or inline) for line, inline in found]
  return [command for command in commands if len(command) > 2]


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
    named = re.findall(r"--(?:model|data|train|inference)\.[a-z0-9.-]*\w", path.read_text())
    assert not set(named) - known, path


def test_documented_targets_of_make_exist():
  known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
  for path in DOCUMENTS:
    named = re.findall(r"^ *make (?:-C \S+ )?([a-z]+)|`make ([a-z]+)", path.read_text(),
                       re.MULTILINE)
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
