"""Takes files outside docs/ into the site: notebooks, changelog, contributing, experiments.

Sphinx reads one folder. These files are copied into docs/copies/ when a build starts, and links
between files of the repository, which are right on GitHub, are made to fit: a page may link any of
them by its path relative to itself.
"""

import pathlib
import posixpath
import re
import shutil

from sphinx.application import Sphinx

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPIES = "copies"
PATTERNS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE",
            "experiments/README.md", "notebooks/*.ipynb")
# The target of a link or picture; not a URL, and not an anchor on the same page.
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)")


def copy_files(app: Sphinx, *_) -> None:
  """Replaces docs/copies/ by copies of what `PATTERNS` find."""
  folder = pathlib.Path(app.srcdir) / COPIES
  shutil.rmtree(folder, ignore_errors=True)
  for path in (path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))):
    copy = folder / path.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
  # Other pages link to its sections; its place in the table of contents is the index's.
  readme = folder / "README.md"
  readme.write_text("---\norphan: true\n---\n" + readme.read_text())


def list_notebooks(app: Sphinx, page: str, source: list[str]) -> None:
  """Puts a table of contents of the notebooks, if there are any, at its mark in the index."""
  names = sorted((pathlib.Path(app.srcdir) / COPIES / "notebooks").glob("*.ipynb"))
  if page == "index" and names:
    entries = "\n".join(f"{COPIES}/notebooks/{path.stem}" for path in names)
    source[0] = source[0].replace(
        "% notebooks\n", f"```{{toctree}}\n:hidden:\n:caption: Notebooks\n\n{entries}\n```\n")


def original_path(page: str) -> str:
  """Returns the path in the repository of the file that a page, as Sphinx names it, comes from."""
  return page.removeprefix(f"{COPIES}/") if page.startswith(f"{COPIES}/") else f"docs/{page}"


def fit_links(text: str, page: str) -> str:
  """Returns `text` with links to files of the repository as links between pages.

  A link to anything else stays, and Sphinx warns if there is nothing.
  """
  def fit(link):
    path = posixpath.normpath(posixpath.join(posixpath.dirname(original_path(page)), link[1]))
    if path.startswith("docs/"):
      return f"/{path.removeprefix('docs/')}"
    known = any(pathlib.PurePosixPath(path).match(pattern) for pattern in PATTERNS)
    return f"/{COPIES}/{path}" if known else link[1]
  return _LINK.sub(fit, text)


def _fit_page(app, page, source):
  source[0] = fit_links(source[0], page)


def setup(app: Sphinx) -> dict:
  """Called by Sphinx."""
  app.connect("config-inited", copy_files)
  app.connect("source-read", _fit_page)
  app.connect("source-read", list_notebooks)
  return {"parallel_read_safe": True}
