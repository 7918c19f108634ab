"""Makes reStructuredText of our docstrings, which are plain text with names in backticks."""

import re

from sphinx.application import Sphinx

import mnc_jax
from mnc_jax import structs

# What a name in backticks is linked to.
_TARGETS = {name: f"mnc_jax.structs.{name}" for name in vars(structs)
            if name[0].isupper() and name != "Array"}
_TARGETS |= {name: f"mnc_jax.{name}" for name in mnc_jax.__all__ if name not in _TARGETS}
_SECTION = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?):$")


def convert(lines: list[str]) -> list[str]:
  """Returns the lines of a docstring as reStructuredText that Napoleon understands.

  Names in backticks become links or literals. Indented lines outside of sections stay as they are.
  Sections that Napoleon would misread, since several results have a name each, become fields.
  """
  converted, section = [], ""
  for line in lines:
    header = _SECTION.match(line)
    section = header[1] if header else section
    indented = line.startswith(" ")
    if header and section in ("Returns", "Attributes"):
      converted += [f":{section}:", ""]
    elif section in ("Returns", "Attributes"):
      converted.append(_convert_names(re.sub(r"^  (\w+(?:, \w+)*): ", r"  - `\1`: ", line)))
    elif section:
      converted.append(line if _is_example(section) else _convert_names(line))
    elif indented and _is_text(converted):
      converted += ["", "::", "", line]
    else:
      converted.append(line if indented else _convert_names(line))
  return converted


def _is_example(section):
  return section == "Example"


def _is_text(before):
  """Returns whether the last line that is not empty is text, and not a listing."""
  last = next((line for line in reversed(before) if line), " ")
  return not last.startswith(" ")


def _convert_names(line):
  return re.sub(r"`([^`]+)`", _convert_name, line.replace("|", r"\|"))


def _convert_name(match):
  name = match[1].replace(r"\|", "|")
  target = _TARGETS.get(name.removeprefix("mnc_jax."))
  return f":py:obj:`{name} <{target}>`" if target else f"``{name}``"


def _convert_in_place(app, what, name, value, options, lines):
  lines[:] = convert(lines)


def _skip_fields(app, what, name, value, skip, options):
  """Leaves out the fields of a NamedTuple, which its docstring lists."""
  return True if type(value).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict:
  """Called by Sphinx."""
  # Before Napoleon, which makes other text of the sections.
  app.connect("autodoc-process-docstring", _convert_in_place, priority=400)
  app.connect("autodoc-skip-member", _skip_fields)
  return {"parallel_read_safe": True}
