"""Images that are in more than one split, found by their content."""

import hashlib
import pathlib

from mnc_jax.data.listing import Content


def hash_image(content: Content) -> bytes:
  """Returns a hash of the encoded image: equal for copies under any name."""
  encoded = content.image
  return hashlib.sha256(
      encoded.read_bytes() if isinstance(encoded, pathlib.Path) else encoded).digest()


def describe_shared(name: str, splits: dict[str, dict[bytes, str]]) -> str:
  """Returns a sentence on the images of the last split that are in an earlier one too.

  Args:
    name: of the data set.
    splits: {split: {hash of an image: its file name}}, training first.

  Returns:
    "" if there is none.
  """
  *earlier, (last, validation) = splits.items()
  shared = {key: (split, images[key]) for split, images in earlier
            for key in images.keys() & validation.keys()}
  if not shared:
    return ""
  # The first in the order of the split, to say the same each time.
  example = next(key for key in validation if key in shared)
  split, file_name = shared[example]
  return (f"{name}: {len(shared)} of {len(validation)} images of the split {last} are in {split} "
          f"too (the same bytes), for example {validation[example]!r} and {file_name!r}: scores of "
          "images that were trained on say nothing about others")
