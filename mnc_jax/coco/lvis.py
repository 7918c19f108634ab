"""LVIS (Gupta et al. 2019): COCO's format, each image annotated for some categories alone."""

from collections.abc import Iterable

from mnc_jax.coco.schema import Row

_FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")  # Of an image.
_KIND = f"its images are annotated for some categories alone (LVIS: {' and '.join(_FEDERATED)})"


def is_federated(images: Iterable[Row]) -> bool:
  """Returns whether any of `images` names the categories that it is or is not annotated for."""
  return any(field in image for image in images for field in _FEDERATED)


def reject_federated(images: Iterable[Row], *, name: str) -> None:
  """Raises ValueError for federated `images` of the file `name`: right results would be wrong."""
  if is_federated(images):
    raise ValueError(
        f"{name}: {_KIND}, and scores that follow this are not offered: results on objects that "
        "nobody annotated would be false. Use LVIS's own package (lvis); without these two fields "
        "the file is scored as if every object were annotated")


def describe_federated(images: Iterable[Row], *, name: str) -> str:
  """Returns a message on federated `images` that are trained on or evaluated, else ""."""
  if not is_federated(images):
    return ""
  return (f"{name}: {_KIND}: objects of the others are learned as background, and results on them "
          "count as false. LVIS's own scores are not offered")


def describe_missing_name(image: Row) -> str:
  """Returns what to do about an image without `file_name`; "" without LVIS's `coco_url`."""
  url = image.get("coco_url")
  if not isinstance(url, str):
    return ""
  return (": LVIS has 'coco_url' instead; give each image a file_name, here "
          f"{'/'.join(url.split('/')[-2:])!r}, from its end")
