"""Hashes of the files that a set was prepared from, to notice that they have changed."""

from collections.abc import Iterator
import hashlib
import itertools
import os
import pathlib

from mnc_jax.data.image_files import IMAGE_SUFFIXES
from mnc_jax.data.readers.label_files import LABEL_SUFFIXES

_LABELS = "[lL][aA][bB][eE][lL][sS]"  # YOLO's folder, in any case.
# Where the set is, and the archives of label images have their folders, see `readers/sbd.py`.
_ROOTS = ("", "*/", "*/*/")
# Annotation files of labelling tools, see `readers/layouts.py`, beside those of COCO and VOC.
_INNER = ("*.y*ml", "[!aI]*/*.*", "*/annotations/*.*", f"*/{_LABELS}/*.*", f"{_LABELS}/*/*.*",
          # The same in a folder of the folder.
          "[aI]*/*.*", "*/*.y*ml", "*/*/*.y*ml", "*/*/_annotations*.json", "*/*/annotations/*.*",
          f"*/*/{_LABELS}/*.*", f"*/{_LABELS}/*/*.*", "*/*/train.txt", "*/*/val.txt",
          "*/ImageSets/Segmentation/*.*", "*/*/ImageSets/Segmentation/*.*",
          # Folders of splits in such a folder, and files in one that is deeper.
          "*/[tTvV]*/*.*", "*/*/*.json", "*/*/[tTvV]*/*.*", "*/*/[tTvV]*/annotations/*.*",
          *(f"{above}{_LABELS}/**/*.*" for above in _ROOTS))
_LABEL_FILES = ("inst/*.mat", "SegmentationObject/*.png", "SegmentationClass/*.png")


def hash_annotations(source: str | pathlib.Path) -> str:
  """Returns a hash of the annotation files and lists in a folder; not of its images."""
  digest = hashlib.sha256()
  seen = set()
  for folder in ("", "annotations", "ImageSets/Segmentation"):
    for path in sorted((pathlib.Path(source) / folder).glob("*.*")):
      if path.suffix.lower() in (".json", ".txt"):
        seen.add(path)
        digest.update(path.name.encode(errors="replace") + path.read_bytes())
  for pattern in _INNER:
    for path in sorted(path for path in pathlib.Path(source).glob(pattern) if path not in seen and
                       path.suffix.lower() in (".json", ".txt", ".yaml", ".yml")
                       and path.is_file() and not _is_written(path.parent)):
      seen.add(path)
      name = path.relative_to(source).as_posix()
      digest.update(name.encode(errors="replace") + path.read_bytes())
  return digest.hexdigest()


def _is_written(folder):
  """Returns whether a folder is a prepared set or a workdir, which may be in the source."""
  return (folder / "dataset_info.json").exists() or (folder / "checkpoints").is_dir()


def hash_labels(source: str | pathlib.Path) -> str:
  """Returns a hash of the label images in a folder, and of the names of images beside labels.

  Label images are those of `readers/label_images.py` and `readers/sbd.py`. Images elsewhere are
  named in annotation files and lists, so that others do not matter.
  """
  root, digest = pathlib.Path(source), hashlib.sha256()
  for path in _list_labels(root):
    content = _read(path)
    digest.update(b"%s\0%d\0%s" % (_name(path, root), len(content), content))
  for path in _list_images(root):
    digest.update(_name(path, root) + b"\0")
  return digest.hexdigest()


def _list_labels(root) -> Iterator[pathlib.Path]:
  for folder in ("labels", "masks"):
    yield from sorted(path for path in (root / folder).glob("*")
                      if path.suffix.lower() in LABEL_SUFFIXES)
  for above, pattern in itertools.product(_ROOTS, _LABEL_FILES):
    yield from sorted(root.glob(above + pattern))


def _list_images(root) -> Iterator[pathlib.Path]:
  for above in _ROOTS:
    for folder in sorted(root.glob(f"{above}images")):
      if any(folder.parent.glob(_LABELS)) or (folder.parent / "masks").is_dir():
        yield from sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern)
                          if path.suffix.lower() in IMAGE_SUFFIXES)


def _read(path) -> bytes:
  try:
    return path.read_bytes()
  except OSError:  # Preparing reports such files.
    return b""


def _name(path, root) -> bytes:
  return os.fsencode(path.relative_to(root).as_posix())
