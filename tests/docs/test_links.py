"""Links between the documents lead to a file and, with an anchor, to a heading, as on GitHub."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKDOWN = ["*.md", "docs", "experiments", "notebooks"]
_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]+)\)")


def find_documents():
  """Returns the Markdown files of the project, without those that a build of the pages adds."""
  listed = [path for part in MARKDOWN
            for path in (ROOT.glob(part) if "*" in part else (ROOT / part).rglob("*.md"))]
  return sorted(path for path in listed if ROOT / "docs" / "copies" not in path.parents)


def without_code(text):
  return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def find_anchors(text):
  """Returns the anchors that GitHub gives the headings of a document."""
  blocks = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
  anchors = set()
  for heading in re.findall(r"^#+ (.*)$", blocks, re.MULTILINE):
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    anchors.add(re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-"))
  return anchors


def dead_links(path, text):
  """Returns the targets of links in a document that lead nowhere."""
  dead = []
  for target in _LINK.findall(without_code(text)):
    file, _, anchor = target.partition("#")
    linked = (path.parent / file).resolve() if file else path
    found = linked.exists() and linked.is_relative_to(ROOT)
    if not found or anchor and anchor not in find_anchors(linked.read_text() if file else text):
      dead.append(target)
  return dead


@pytest.mark.parametrize("path", find_documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_document_lead_somewhere(path):
  assert not dead_links(path, path.read_text())


@pytest.mark.parametrize("link", [
    "[x](docs/missing.md)", "[x](docs/files.md#missing)", "[x](#missing)", "![x](docs/missing.jpg)",
    "[x](../outside.md)"])
def test_dead_links_are_found(link):
  assert len(dead_links(ROOT / "README.md", f"# Title\n{link} [y](#title) `[z](code.md)`")) == 1


def test_links_are_found():
  found = [link for path in find_documents() for link in _LINK.findall(path.read_text())]
  assert len(found) > 100


def test_pages_that_a_build_adds_are_not_in_git():
  if not (ROOT / ".git").exists():
    pytest.skip("no git here")
  command = ["git", "check-ignore", "docs/copies/README.md", "build/docs/index.html"]
  ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
  assert len(ignored.splitlines()) == 2
