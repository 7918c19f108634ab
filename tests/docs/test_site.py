"""The pages build without a warning, have every public name and field, and no dead link."""

import dataclasses
from html.parser import HTMLParser
import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys
from urllib.parse import unquote
import zlib

import pytest

from helpers.browser import find_browser, open_page
import mnc_jax

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ("docs", "notebooks", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff",
         "LICENSE", "experiments")
# Modules whose public functions and classes are all in the reference.
PACKAGES = ("mnc_jax.structs", "mnc_jax.ops", "mnc_jax.evaluation.metrics")
# Parts of others that nobody calls by themselves.
INTERNAL = {"mnc_jax.ops.conv", "mnc_jax.ops.gradients", "mnc_jax.ops.max_pool",
            "mnc_jax.ops.nms_tiles", "mnc_jax.evaluation.metrics.geometry",
            "mnc_jax.evaluation.metrics.matching", "mnc_jax.evaluation.metrics.records"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """Builds the pages of a copy of the tree, since a build adds files to docs/; under a minute."""
  copy = tmp_path_factory.mktemp("tree")
  for part in PARTS:
    if (ROOT / part).is_dir():
      shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("copies"))
    elif (ROOT / part).exists():
      shutil.copy(ROOT / part, copy / part)
  command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(copy / "docs"),
             str(copy / "site")]
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  built = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
  assert not built.returncode, built.stderr
  return copy / "site"


@pytest.fixture(scope="module")
def names(site):
  """Returns {kind: names} of what the pages describe, from Sphinx's list for other projects."""
  inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
  found = {}
  for line in zlib.decompress(inventory).decode().splitlines():
    name, kind, _ = line.split(" ", 2)
    found.setdefault(kind, set()).add(name)
  return found


def test_every_public_name_is_in_the_reference(names):
  described = names["py:function"] | names["py:class"]
  assert {f"mnc_jax.{name}" for name in mnc_jax.__all__} <= described


def modules_of(name):
  module = importlib.import_module(name)
  found = pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}.")
  return [module, *(importlib.import_module(part.name) for part in found)]


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_and_classes_of_a_package_are_in_the_reference(names, package):
  described = names["py:function"] | names["py:class"]
  public = {f"mnc_jax.{name}" for name in mnc_jax.__all__}
  for module in modules_of(package):
    own = {name for name, value in vars(module).items()
           if (inspect.isfunction(value) or inspect.isclass(value))
           and value.__module__ == module.__name__ and not name.startswith("_")}
    missing = {name for name in own if f"{module.__name__}.{name}" not in described
               and f"mnc_jax.{name}" not in public}
    assert not missing or module.__name__ in INTERNAL, module.__name__


@pytest.mark.parametrize("notebook", ["04_many_devices", "05_extend_it"])
def test_what_notebooks_build_on_is_in_the_reference(names, notebook):
  cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
  text = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
  for module, imported in re.findall(r"^from (mnc_jax[\w.]*) import (.*)$", text, re.MULTILINE):
    for name in imported.split(", "):
      value = getattr(importlib.import_module(module), name)
      if not inspect.ismodule(value):
        assert f"{value.__module__}.{name}" in names["py:function"] | names["py:class"]


def test_the_docstring_of_register_reader_links_to_what_a_reader_returns(site):
  page = (site / "api" / "index.html").read_text()
  for name in ("data.listing.Listing", "data.listing.Entry", "coco.faults.Fault"):
    assert f'href="extending.html#mnc_jax.{name}"' in page


def fields_of(part, path=""):
  for field in dataclasses.fields(part):
    value = getattr(part, field.name)
    name = f"{path}{field.name}"
    yield from fields_of(value, f"{name}.") if dataclasses.is_dataclass(value) else [name]


def test_config_reference_has_exactly_the_fields(names):
  assert names["std:confval"] == set(fields_of(mnc_jax.Config()))


class Page(HTMLParser):
  """Collects the anchors of a page, and the local targets of its links and pictures."""

  def __init__(self, text):
    super().__init__()
    self.anchors, self.targets, self.unnamed = {""}, set(), []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
    for key in ("href", "src"):
      if attributes.get(key) and not attributes[key].startswith(("http", "mailto:", "data:")):
        self.targets.add(unquote(attributes[key]))
    if tag == "img" and not attributes.get("alt"):
      self.unnamed.append(attributes["src"])


def test_links_of_the_pages_lead_somewhere_and_pictures_are_described(site):
  pages = {path: Page(path.read_text()) for path in site.rglob("*.html")
           if site / "_static" not in path.parents}
  assert len(pages) > 50
  for path, page in pages.items():
    assert not page.unnamed, path
    for target in page.targets:
      file, _, anchor = target.partition("#")
      file = (path.parent / file.split("?")[0]).resolve() if file else path
      assert file.exists(), f"{path}: {target}"
      if anchor and file in pages:
        assert anchor in pages[file].anchors, f"{path}: {target}"


# Opens each page in a frame of both widths, since no window is narrower than 500 pixels.
_MEASURE = """<body><script>
addEventListener("load", async () => {
  const found = {};
  for (const page of PAGES) {
    const frame = document.createElement("iframe");
    frame.style = "height: 800px; border: 0";
    frame.src = page;
    const loaded = new Promise(done => { frame.onload = done; });
    document.body.append(frame);
    await loaded;
    const root = frame.contentDocument.documentElement;
    found[page] = WIDTHS.map(width => {
      frame.style.width = `${width}px`;
      return [root.clientWidth, root.scrollWidth];
    });
    frame.remove();
  }
  const note = document.createElement("pre");
  note.id = "found";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
});
</script></body>"""


def test_no_page_is_wider_than_the_screen(site, tmp_path):
  browser, widths = find_browser(), [390, 1300]
  pages = [f"../{path.relative_to(site).as_posix()}" for path in sorted(site.rglob("*.html"))
           if path.relative_to(site).parts[0] not in ("_static", "_modules")]
  page = site / "_static" / "widths.html"
  page.write_text(_MEASURE.replace("PAGES", json.dumps(pages)).replace("WIDTHS", str(widths)))
  # Nothing is fetched: what the pages have from other hosts does not decide on their widths.
  found, _ = open_page(browser, page, tmp_path, "--allow-file-access-from-files",
                       "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars")
  assert len(found) == len(pages) > 30
  assert {tuple(shown for shown, _ in measured) for measured in found.values()} == {tuple(widths)}
  assert not {page: measured for page, measured in found.items()
              if any(needed > shown for shown, needed in measured)}
