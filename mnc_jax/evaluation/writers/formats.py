"""The formats of mnc predict by name."""

from collections.abc import Iterator, Sequence
import contextlib
import glob
import pathlib
import re

from mnc_jax.evaluation.writers import coco, label_images, labelme, pictures, table, video
from mnc_jax.evaluation.writers.found import Target, Writer

# In the order they are written: what was computed comes first, so that it is not lost if the disk
# is full.
_OPENERS = {"coco": coco.open_writer, "csv": table.open_writer, "labels": label_images.open_writer,
            "labelme": labelme.open_writer, "pictures": pictures.open_writer}
# Of each image or video.
_FILES = {"pictures": pictures.list_files, "labels": label_images.list_files,
          "labelme": labelme.list_files, "video": video.list_files, "coco": coco.list_files,
          "csv": table.list_files}
# In folders of their own: people correct them by hand.
_CORRECTED = ("labels", "labelme")
# Whether a file that is there is ours. Of pictures that cannot be known.
_IS_OWN = {"coco": coco.is_own, "csv": table.is_own}
# Where the instances that reach --min-score are.
_PLACES = {"pictures": "drawn in the pictures", "video": "drawn in the video",
           "csv": f"in {table.FILE}", "labels": f"in {label_images.FOLDER}/",
           "labelme": f"in {labelme.FOLDER}/"}


@contextlib.contextmanager
def open_writers(formats: Sequence[str], target: Target, *, video_name: str = ""
                 ) -> Iterator[list[Writer]]:
  """Yields the writers of the formats, and closes their files in the end.

  Args:
    formats: names.
    target: where they write.
    video_name: of the file without suffix, if "video" is one of them.
  """
  with contextlib.ExitStack() as stack:
    writers = [stack.enter_context(opener(target)) for name, opener in _OPENERS.items()
               if name in formats]
    if "video" in formats:
      writers.append(stack.enter_context(video.open_writer(target, video_name)))
    yield writers


def check_files(formats: Sequence[str], folder: pathlib.Path, names: Sequence[str],
                inputs: Sequence[pathlib.Path]) -> None:
  """Checks that no input is overwritten, and nothing that was made or corrected by hand.

  Files of an earlier call are overwritten, but pictures and videos only in folders without inputs:
  beside these they may be the user's own.

  Args:
    formats: that will be written.
    folder: of the output.
    names: of the images; of a video its own and those of `find_frames`.
    inputs: files that will be read.

  Raises:
    ValueError: naming the first file.
  """
  taken = {path.resolve() for path in inputs}
  folders = {path.parent for path in taken}
  for kind in formats:
    files = dict.fromkeys(path for name in names for path in _FILES[kind](folder, name))
    for path in files:
      if path.resolve() in taken:
        raise ValueError(f"{path} would be overwritten, but is an input: give another --output")
      reason = _keep(kind, path, folders)
      if reason:
        raise ValueError(f"{path} is there already, and {reason}: give another --output, or "
                         "delete it")


def find_frames(formats: Sequence[str], folder: pathlib.Path, name: str) -> list[str]:
  """Returns the name of a video's first frame, and those of the frames that have a file there."""
  first = f"{name}_{0:06}"
  parents = {path.parent for kind in formats for path in _FILES[kind](folder, first)}
  stems = {path.stem for parent in parents for path in parent.glob(f"{glob.escape(name)}_*")}
  return sorted({first} | {stem for stem in stems if re.fullmatch(r"\d{6,}", stem[len(name) + 1:])})


def _keep(kind, path, input_folders):
  """Returns why a file that is there must not be overwritten; "" if it may be, or is not there."""
  if kind in _CORRECTED:
    return "perhaps was corrected by hand" if path.exists() else ""
  if kind in _IS_OWN:
    return "was not written by mnc predict" if path.exists() and not _IS_OWN[kind](path) else ""
  # In cloud storage each look takes time.
  is_kept = path.resolve().parent in input_folders and path.exists()
  return "perhaps is no drawing, beside inputs" if is_kept else ""


def describe_places(formats: Sequence[str]) -> str:
  """Returns where the instances that reach --min-score are; "" if in none of the formats."""
  places = [place for name, place in _PLACES.items() if name in formats]
  if "coco" in formats and places and places[0].startswith("drawn"):
    places[0] += " beside it"
  return " and ".join([", ".join(places[:-1]), places[-1]] if len(places) > 1 else places)
