"""The extensions of docs/: links between files, docstrings, and pages made from the code."""

import dataclasses
import importlib.util
import pathlib
from typing import Literal

import pytest

EXTENSIONS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "extensions"


def load_extension(name):
  spec = importlib.util.spec_from_file_location(name, EXTENSIONS / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


outside_files, config_pages, docstrings = map(
    load_extension, ("outside_files", "config_pages", "docstrings"))


@pytest.mark.parametrize(("page", "link", "fitted"), [
    ("guide/install", "../performance.md#on-cpu", "/performance.md#on-cpu"),
    ("faq", "../CONTRIBUTING.md#add-something", "/copies/CONTRIBUTING.md#add-something"),
    ("copies/experiments/README", "../docs/scaling.md", "/scaling.md"),
    ("copies/README", "docs/report.jpg", "/report.jpg"),
    ("index", "../notebooks/01_quickstart.ipynb", "/copies/notebooks/01_quickstart.ipynb"),
    ("index", "../mnc_jax/structs.py", "../mnc_jax/structs.py"),
    ("index", "https://example.org/x", "https://example.org/x"),
    ("index", "#here", "#here")])
def test_links_between_files_fit_the_pages(page, link, fitted):
  assert outside_files.fit_links(f"see ![x]({link}), yes", page) == f"see ![x]({fitted}), yes"


class FakeApp:
  def __init__(self, srcdir):
    self.srcdir = srcdir


def test_notebooks_are_listed_where_the_index_wants_them(tmp_path):
  source = ["before\n% notebooks\nafter"]
  outside_files.list_notebooks(FakeApp(tmp_path), "index", source)
  assert "toctree" not in source[0]
  for name in ("b", "a"):
    (tmp_path / "copies" / "notebooks").mkdir(parents=True, exist_ok=True)
    (tmp_path / "copies" / "notebooks" / f"{name}.ipynb").touch()
  outside_files.list_notebooks(FakeApp(tmp_path), "index", source)
  assert "copies/notebooks/a\ncopies/notebooks/b\n```\nafter" in source[0]


def test_names_in_docstrings_become_links_or_literals():
  assert docstrings.convert(["See `nms` of `[R, 4]`, |x| and `Batch`."]) == [
      "See :py:obj:`nms <mnc_jax.nms>` of ``[R, 4]``, \\|x\\| and "
      ":py:obj:`Batch <mnc_jax.structs.Batch>`."]
  assert docstrings.convert(["A `data.listing.Listing`."]) == [
      "A :py:obj:`data.listing.Listing <mnc_jax.data.listing.Listing>`."]


def test_listings_in_docstrings_keep_their_lines():
  assert docstrings.convert(["Grids:", "", "  a: `x`", "    more", "", "Text."]) == [
      "Grids:", "", "", "::", "", "  a: `x`", "    more", "", "Text."]
  assert docstrings.convert(["Args:", "  a: `x`"]) == ["Args:", "  a: ``x``"]


def test_named_results_become_a_list_and_prose_does_not():
  lines = ["Returns:", "  indices: [n] of `nms`,", "    best first.", "  A pair of: two.", "",
           "Raises:", "  ValueError: never."]
  assert docstrings.convert(lines) == [
      ":Returns:", "", "  - ``indices``: [n] of :py:obj:`nms <mnc_jax.nms>`,", "    best first.",
      "  A pair of: two.", "", "Raises:", "  ValueError: never."]


def test_examples_stay_as_they_are():
  lines = ["Example:", "  >>> print(`x`)  # |y|", "  `x`"]
  assert docstrings.convert(lines) == lines


@dataclasses.dataclass(frozen=True)
class Inner:
  """The inner part."""

  rate: float = 0.5
  """Rate in *steps*."""


@dataclasses.dataclass(frozen=True)
class Outer:
  """The outer part."""

  kind: Literal["a", "b"] = "a"
  """Kind of it."""
  inner: Inner = Inner()
  """Not described by itself."""


def test_fields_are_described_with_type_default_and_other_presets():
  outer, inner = config_pages.describe_fields(
      Outer(), {"paper": Outer(inner=Inner(rate=2.0)), "release": Outer()}, "part")
  assert outer.splitlines()[:8] == [
      "## part", "", "The outer part.", "", "```{confval} part.kind", ":type: `` a | b ``",
      ":default: `` 'a' ``", ""]
  assert "Preset" not in outer and "part.inner" not in outer
  assert "## part.inner" in inner and "Rate in \\*steps\\*." in inner
  assert "Preset paper: `` 2.0 ``" in inner and "release" not in inner


def test_headers_of_configs_become_lists_with_the_command_as_it_is():
  header = ("Title of it.\n\nPaper:     A, B_c,\n           CVPR.\nCommand:   mnc train \\\n"
            "             --workdir x\nScore:     .5\n")
  assert list(config_pages.describe_header(header)) == [
      "Title of it.\n", "- *Paper*: A, B\\_c, CVPR.\n",
      "```text\nmnc train \\\n  --workdir x\n```\n", "- *Score*: .5\n"]


def test_shipped_configs_and_commands_are_all_described():
  assert "## nuclei_small" in config_pages.shipped_configs()
  text = config_pages.command_help()
  assert all(f"## mnc {name}\n" in text for name in ("train", "predict", "score"))
  assert "--min-score FLOAT" in text and "--model." not in text.partition("## mnc score")[2]
