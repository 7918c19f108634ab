"""Image files of a COCO file, found also where their names are spelled otherwise on the disk."""

from collections.abc import Callable, Sequence
import functools
import os
import pathlib

from mnc_jax.coco.faults import Fault, FaultReport, list_first
from mnc_jax.coco.file_names import name_parts, same_spelling
from mnc_jax.data.image_files import find_images
from mnc_jax.data.readers.coco_file import CocoFile

_FIRST = 100  # Images of a file of which at least one must exist.
Find = Callable[[str], str | None]


def make_finder(folder: str | pathlib.Path) -> Find:
  """Returns `find(file_name) -> the name of the file, relative to the folder, or None`.

  A name is found as it is; or else in another spelling (`name_parts`), with leading folders left
  out as far as needed: an absolute name of another machine is found by its end. What is found
  is below the folder, but may be a link. A spelling that several files share is not found.
  """
  @functools.cache
  def list_names(parts: tuple[str, ...]) -> dict[str, list[str]]:
    names = {}
    try:
      for name in os.listdir(pathlib.Path(folder, *parts)):
        names.setdefault(same_spelling(name), []).append(name)
    except OSError:  # No folder.
      pass
    return names

  def is_exact(name):
    parts = pathlib.PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/") and all(
        part in list_names(parts[:depth]).get(same_spelling(part), ())
        for depth, part in enumerate(parts))

  def find(name: str) -> str | None:
    if is_exact(name):
      return name
    parts = name_parts(name)
    return next(filter(None, (_descend(list_names, parts[start:])
                              for start in range(len(parts)))), None)

  return find


def _descend(list_names, parts):
  """Returns the path whose parts have these spellings, or None if there is not exactly one."""
  found: tuple[str, ...] = ()
  for part in parts:
    names = list_names(found).get(part, ())
    if len(names) != 1:
      return None
    found += (names[0],)
  return "/".join(found)


def find_folder(coco: CocoFile, candidates: Sequence[pathlib.Path]) -> pathlib.Path:
  """Returns the first folder that has any of the first images; at best by its exact name.

  Raises:
    ValueError: if none has, with the name of an image and the files that are there.
  """
  names = [image["file_name"] for image in coco.images[:_FIRST]]
  finders = [(folder, make_finder(folder)) for folder in candidates]
  for folder, find in finders:
    if any(find(name) == name for name in names):
      return folder
  for folder, find in finders:
    if any(map(find, names)):
      return folder
  raise ValueError(f"{coco.path}: none of its first {len(names)} images, such as {names[0]!r}, is "
                   f"in {', '.join(map(str, candidates))}{_describe_content(candidates)}")


def _describe_content(folders):
  """Returns some image files of the first folder that has any, to compare with what was sought."""
  for folder in folders:
    names = [path.name for path in find_images(folder)]
    if names:
      return f"; {folder} has {list_first(names)}"
  return ""


def locate_images(coco: CocoFile, folder: str | pathlib.Path, report: FaultReport) -> CocoFile:
  """Returns the file with the names that its images have in `folder`.

  Names that are spelled otherwise there are counted in one report. An image is reported and dropped
  if its name leads out of the folder and is not found by its end, or is found as the file of
  another image. Any other name that is not found is an error when the image is read.
  """
  find = make_finder(folder)
  found = [find(image["file_name"]) for image in coco.images]
  exact = {str(pathlib.PurePosixPath(name)): image["id"]
           for image, name in zip(coco.images, found, strict=True)
           if name is not None and name == image["file_name"]}
  kept, changed, taken = [], [], dict(exact)
  for image, annotations, name in zip(coco.images, coco.annotations, found, strict=True):
    given = image["file_name"]
    fault = _find_fault(image, name, taken, folder)
    if fault:
      report(Fault("image", f"{coco.path}: image {image['id']}: file_name {given!r} {fault}"))
      continue
    if name is not None and name != given:
      changed.append((given, name))
      taken[name] = image["id"]
      image = image | {"file_name": name}
    kept.append((image, annotations))
  if changed:
    given, name = changed[0]
    report(Fault("set", f"{coco.path}: {len(changed)} of {len(coco.images)} file names are spelled "
                        f"otherwise in {folder}, for example {given!r}, which is {name!r} there"))
  return coco._replace(images=[image for image, _ in kept],
                       annotations=[annotations for _, annotations in kept])


def _find_fault(image, name, taken, folder):
  """Returns what is wrong with the name of an image, which was found as `name`; or None."""
  given = pathlib.PurePosixPath(image["file_name"])
  if name is None:
    leaves = given.is_absolute() or ".." in given.parts or not given.parts
    return (f"leaves the folder of images {folder}, in which no file has such a name"
            if leaves else None)
  if name != image["file_name"] and name in taken:
    return f"is not in {folder}; {name!r} there, the closest name, is image {taken[name]}"
  return None
