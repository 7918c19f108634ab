"""Names of image files, compared across the spellings of systems and labelling tools."""

import collections
from collections.abc import Iterable
import re
import unicodedata
import urllib.parse

_DRIVE = re.compile("^[A-Za-z]:")
_SEPARATOR = re.compile(r"[/\\]+")

# {last part: [(all parts, the name as it is, key)]}.
NameIndex = dict[str, list[tuple[tuple[str, ...], str, int]]]


def name_parts(name: str) -> tuple[str, ...]:
  r"""Returns the folders and the file that a path names, in one spelling.

  Names that differ only in separator (`\`), drive, URL encoding (`%20`), case, Unicode
  normalisation (NFD, as macOS writes it), or in `.` and `..`, have equal parts.
  """
  path = _DRIVE.sub("", urllib.parse.unquote(name)).replace("\\", "/")
  return tuple(same_spelling(part) for part in path.split("/") if part not in ("", ".", ".."))


def same_spelling(part: str) -> str:
  """Returns the name of one file or folder without its case and Unicode normalisation."""
  folded = unicodedata.normalize("NFC", part).casefold()
  return unicodedata.normalize("NFC", folded)


def index_names(names: Iterable[tuple[int, str]]) -> NameIndex:
  """Returns the index of (key, file name) pairs that `find_keys` searches."""
  index = collections.defaultdict(list)
  for key, name in names:
    parts = name_parts(name)
    if parts:
      index[parts[-1]].append((parts, name, key))
  return dict(index)


def find_keys(name: str, index: NameIndex) -> list[int]:
  """Returns the keys of the names that share most of the last parts with `name`.

  Folders before these may differ, since one side may have a path and the other a bare name. Of
  names that differ only in their spelling, such as `A.jpg` and `a.jpg`, the same one is found.

  Returns:
    No key if none has the same last part; several if they share equally many.
  """
  parts = name_parts(name)
  if not parts:
    return []
  written = _SEPARATOR.split(name)
  shared = [(_count_shared(parts, other), other == parts,
             _count_shared(written, _SEPARATOR.split(text)), key)
            for other, text, key in index.get(parts[-1], ())]
  best = max((found[:3] for found in shared), default=None)
  return [found[3] for found in shared if found[:3] == best]


def _count_shared(parts, others):
  """Returns how many of the last parts are equal."""
  count = 0
  for one, other in zip(reversed(parts), reversed(others), strict=False):
    if one != other:
      break
    count += 1
  return count
