"""Which label file belongs to which image: names that segmentation tools write."""

from collections.abc import Collection
import pathlib

# Of lossless formats. JPEG changes labels at every edge.
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
# Cellpose writes NAME_cp_masks.png or .tif (and NAME_seg.npy, which is no array of labels).
_ENDINGS = ("_cp_masks", "_masks", "_mask")


def match_label_files(folder: pathlib.Path, names: Collection[str]
                      ) -> tuple[dict[str, list[pathlib.Path]], list[pathlib.Path]]:
  """Returns ({name of an image: its label files}, label files of no image), sorted by name.

  A label file is called like its image, or like it and `_mask`, `_masks` or `_cp_masks`, and ends
  with one of `LABEL_SUFFIXES` in any case. Hidden files are none.

  Args:
    folder: of the label files.
    names: of the images, without suffix.
  """
  known, found, unmatched = set(names), {}, []
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() not in LABEL_SUFFIXES or path.name.startswith("."):
      continue
    name = next((name for name in _image_names(path.stem) if name in known), None)
    if name is None:
      unmatched.append(path)
    else:
      found.setdefault(name, []).append(path)
  return found, unmatched


def _image_names(stem):
  """Yields the names that the image of a label file may have; its own comes first."""
  yield stem
  yield from (stem.removesuffix(ending) for ending in _ENDINGS if stem.endswith(ending))


def choose_label_file(name: str, paths: list[pathlib.Path], folder: pathlib.Path) -> pathlib.Path:
  """Returns the one label file of the image called `name`.

  Raises:
    ValueError: if there is none, naming similar files in `folder`, or more than one.
  """
  if len(paths) > 1:
    raise ValueError(f"image {name!r} has {len(paths)} label images in {folder}: "
                     f"{', '.join(path.name for path in paths)}: keep one of them")
  if not paths:
    similar = sorted(path.name for path in folder.iterdir()
                     if path.stem in (name, f"{name}_seg", *(name + ending for ending in _ENDINGS)))
    raise ValueError(
        f"there is no label image {folder / name}.png (nor {', '.join(LABEL_SUFFIXES[1:])}, nor "
        f"{', '.join(name + ending for ending in _ENDINGS)})"
        + (f"; {', '.join(similar[:3])} there cannot be one" if similar else ""))
  return paths[0]
