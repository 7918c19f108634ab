"""Images without annotations: some have no object, others were not annotated yet."""

from collections.abc import Sequence

from mnc_jax.coco.schema import Row

_NOTABLE_SHARE, _FEWEST = 0.2, 5  # Of the images of a file. In COCO 2017 .009 are without.


def describe_unannotated(images: Sequence[Row], annotations: Sequence[Sequence[Row]], *, name: str
                         ) -> str:
  """Returns a message if at least a fifth of the images, and five, have no annotation, else "".

  VIA's projects, CVAT's tasks and YOLO's folders have all images, whatever is done of them.

  Args:
    images: rows with `file_name`.
    annotations: of each image.
    name: what the message calls the file.
  """
  bare = [image for image, rows in zip(images, annotations, strict=True) if not rows]
  if len(bare) < max(_NOTABLE_SHARE * len(images), _FEWEST):
    return ""
  return (f"{name}: {len(bare)} of {len(images)} images have no annotation, such as "
          f"{bare[0]['file_name']!r}: they are learned as background. Remove those that were "
          "not annotated yet")
