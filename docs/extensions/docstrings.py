"""Makes reStructuredText of our docstrings, which are plain text with names in backticks."""

import re

from sphinx.application import Sphinx

import mnc_jax
from mnc_jax import structs

# What a name in backticks is linked to.
_TARGETS = {name: f"mnc_jax.structs.{name}" for name in vars(structs)
            if name[0].isupper() and name != "Array"}
_TARGETS |= {name: f"mnc_jax.{name}" for name in mnc_jax.__all__ if name not in _TARGETS}
_TARGETS |= {name: f"mnc_jax.{name}" for name in (
    "coco.faults.Fault", "data.listing.Content", "data.listing.Entry", "data.listing.Listing")}
# `structs.Array`, of which Python keeps no name.
_ARRAY = re.escape("~jax.jaxlib._jax.Array | ~numpy.ndarray")
_SECTION = re.compile(
    "(Args|Returns|Yields|Raises|Warns|Attributes|Example|Degenerate input|Gradient|Note):$")


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
  # Napoleon takes a colon in the first line of a value's docstring for one after a type.
  lines[:] = [""] * (what in ("data", "attribute")) + convert(lines)


def _skip_fields(app, what, name, value, skip, options):
  """Leaves out the fields of a NamedTuple, which its docstring lists."""
  return True if type(value).__name__ == "_tuplegetter" else None


def _shorten_signature(app, what, name, value, options, signature, returns):
  """Leaves out the fields of a class, which are listed below it, and spells out no `Array`."""
  if what == "class":
    return "", None
  return tuple(text and re.sub(_ARRAY, "~mnc_jax.structs.Array", text)
               for text in (signature, returns))


def _fix_links_back(app, page, template, context, doctree):
  """Corrects links from source pages to the reference.

  Viewcode takes one prefix for all names of a file, but some are described as `mnc_jax.nms` and
  others as `mnc_jax.ops.nms.Kept`.
  """
  if not page.startswith("_modules/mnc_jax"):
    return
  module = page.removeprefix("_modules/").replace("/", ".")
  known = app.env.domains["py"].objects

  def fix(match):
    name = match[2].removeprefix(f"{module}.").removeprefix("mnc_jax.")
    right = next((full for full in (f"{module}.{name}", f"mnc_jax.{name}")
                  if full in known and not known[full].aliased), match[2])
    return f"{match[1]}#{right}"
  context["body"] = re.sub(r"(/api/\w+\.html)#([\w.]+)", fix, context["body"])


def setup(app: Sphinx) -> dict:
  """Called by Sphinx."""
  # Before Napoleon, which makes other text of the sections.
  app.connect("autodoc-process-docstring", _convert_in_place, priority=400)
  app.connect("autodoc-process-signature", _shorten_signature)
  app.connect("autodoc-skip-member", _skip_fields)
  app.connect("html-page-context", _fix_links_back)
  return {"parallel_read_safe": True}
