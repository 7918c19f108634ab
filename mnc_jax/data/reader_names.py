"""The readers of data sets by name: those of `readers/`, and those that a program adds.

A new format of the library is a file in `readers/` with a function that lists a folder, a line of
`_READERS`, and its name in `config/data.py`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mnc_jax.config import extensions
from mnc_jax.data.listing import Listing
from mnc_jax.data.readers import coco, label_images, sbd, shapes


class Reader(NamedTuple):
  """How a data set is read from its files.

  Attributes:
    list_images: of (folder, report, *, options: ImageOptions), see `register_reader`.
    category_names: of labels 1, 2, ...; None if they are in the files.
  """
  list_images: Callable[..., Listing]
  category_names: tuple[str, ...] | None


_READERS = {
    "shapes": Reader(shapes.list_shapes, shapes.CATEGORY_NAMES),
    "coco": Reader(coco.list_coco, None),
    "label_images": Reader(label_images.list_label_images, label_images.CATEGORY_NAMES),
    "sbd": Reader(sbd.list_sbd, sbd.CATEGORY_NAMES)}
DATASETS = tuple(_READERS)


def register_reader(name: str, list_images: Callable[..., Listing], *,
                    category_names: Sequence[str] | None = None) -> None:
  """Makes a format of your own available to `mnc_jax.data.prepare`, and as `config.data.dataset`.

  The reader is needed to prepare a set. What was prepared is read without it, under its name.

  Args:
    name: lower-case letters, digits and underscores.
    list_images: called with the folder, a function that takes a `coco.faults.Fault` of each item
      that is skipped, and the keyword `options`, which pixels to read. It returns a
      `data.listing.Listing`: categories, and a `data.listing.Entry` for each image of the splits
      "train" and "validation". Only names are read there; an entry reads image and annotations,
      a `data.listing.Content`, when it is its turn.
    category_names: of labels 1, 2, ... if they are known without the files.

  Raises:
    ValueError: if the library has a reader of this name.

  Example:
    >>> import mnc_jax
    >>> from mnc_jax.data.reader_names import find_reader
    >>> from mnc_jax.data.readers.label_images import list_label_images
    >>> mnc_jax.register_reader("cells", list_label_images, category_names=["cell"])
    >>> len(find_reader("cells").category_names)
    1
  """
  names = None if category_names is None else tuple(category_names)
  extensions.register("data.dataset", name, Reader(list_images, names))


def has_reader(name: str) -> bool:
  """Returns whether a data set of this name can be prepared here."""
  return name in _READERS or extensions.is_registered("data.dataset", name)


def find_reader(name: str) -> Reader:
  """Returns the reader of a data set.

  Raises:
    ValueError: if there is none.
  """
  return _READERS[name] if name in _READERS else extensions.find("data.dataset", name)
