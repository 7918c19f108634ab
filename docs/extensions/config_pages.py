"""Writes the ends of pages from the code: config reference, shipped configs, commands."""

from collections.abc import Iterator
import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import re
import types
import typing
from typing import Any
from unittest import mock

from sphinx.application import Sphinx

from mnc_jax import configs
from mnc_jax.cli.commands import COMMANDS
from mnc_jax.cli.fields import field_docs
from mnc_jax.cli.parse import parse
from mnc_jax.config import Config, paper, release


def describe_fields(part: Any, presets: dict[str, Any], path: str) -> Iterator[str]:
  """Yields a section for a dataclass of the config, and one for each dataclass in it.

  Args:
    part: the defaults.
    presets: {name: the same part of another config}, whose values are given where they differ.
    path: of the part, as on the command line: "model".
  """
  inner, lines = [], []
  docs, kinds = field_docs(type(part)), typing.get_type_hints(type(part))
  for field in dataclasses.fields(part):
    name, default = f"{path}.{field.name}", getattr(part, field.name)
    if dataclasses.is_dataclass(default):
      others = {preset: getattr(value, field.name) for preset, value in presets.items()}
      inner += describe_fields(default, others, name)
      continue
    differing = {preset: getattr(value, field.name) for preset, value in presets.items()
                 if getattr(value, field.name) != default}
    lines += [f"```{{confval}} {name}", f":type: `` {_type_name(kinds[field.name])} ``",
              f":default: `` {default!r} ``", "", _as_text(docs[field.name]), ""]
    lines += ["; ".join(f"Preset {preset}: `` {value!r} ``" for preset, value in differing.items())]
    lines += ["```", ""]
  yield "\n".join([f"## {path}", "", f"{inspect.getdoc(type(part))}", "", *lines])
  yield from inner


def _type_name(kind):
  """Returns a type as a reader needs it: the values of a Literal, the parts of a union."""
  parts = typing.get_args(kind)
  if typing.get_origin(kind) is typing.Literal:
    return " | ".join(map(str, parts))
  if typing.get_origin(kind) in (typing.Union, types.UnionType):
    return " | ".join(map(_type_name, parts))
  return str(kind) if parts else kind.__name__


def _as_text(text):
  """Returns plain text so that Markdown shows it as it is."""
  return re.sub(r"([*_<\[\]`$\\])", r"\\\1", text)


def config_reference() -> str:
  """Returns every field of a config in Markdown: meaning, type, default, values of the presets."""
  presets = {"paper": paper(), "release": release()}
  parts = ((field.name, getattr(Config(), field.name)) for field in dataclasses.fields(Config))
  return "\n".join(text for name, part in parts for text in describe_fields(
      part, {preset: getattr(value, name) for preset, value in presets.items()}, name))


def shipped_configs() -> str:
  """Returns the headers of the shipped configs in Markdown."""
  return "\n".join(
      f"## {name}\n\n" + "\n".join(
          describe_header(inspect.getdoc(importlib.import_module(f"mnc_jax.configs.{name}"))))
      for name in sorted({*configs.names()} - {"paper", "release"}))


def describe_header(header: str) -> Iterator[str]:
  """Yields the header of a config, a title and entries such as `Score: ...`, as Markdown."""
  title, *entries = re.split(r"^([A-Z][a-z]+): +", header, flags=re.MULTILINE)
  yield f"{_as_text(title.strip())}\n"
  for name, text in zip(entries[::2], entries[1::2], strict=True):
    if name == "Command":
      yield f"```text\n{re.sub(r'^ {11}', '', text, flags=re.MULTILINE).rstrip()}\n```\n"
    else:
      yield f"- *{name}*: {_as_text(' '.join(text.split()))}\n"


def command_help() -> str:
  """Returns what `--help` of each command prints, in Markdown; without the fields of a config."""
  sections = []
  for name, options in COMMANDS.items():
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # Frames are not ASCII.
    with (contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit),
          mock.patch.dict(os.environ, COLUMNS="80")):
      parse(options, name, ["--help"])
    printed.seek(0)
    text = printed.read().partition("╭─ model options")[0]
    sections.append(f"## mnc {name}\n\n```text\n{text.strip()}\n```\n")
  return "\n".join(sections)


def decisions() -> str:
  """Returns the table of contents of the decisions, whose list has links already."""
  return "```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


ENDS = {"config_reference": config_reference, "configs": shipped_configs,
        "commands": command_help, "decisions/README": decisions}


def _add_end(app, page, source):
  if page in ENDS:
    source[0] += "\n" + ENDS[page]()


def setup(app: Sphinx) -> dict:
  """Called by Sphinx."""
  app.connect("source-read", _add_end)
  return {"parallel_read_safe": True}
