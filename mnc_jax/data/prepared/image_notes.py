"""What is counted of the images of a prepared set: EXIF orientations, and ranges hardly used."""

from collections.abc import Sequence

from mnc_jax.data.contrast import SMALL_RANGE
from mnc_jax.data.images import ImageOptions
from mnc_jax.data.listing import ImageNotes


def describe_notes(notes: Sequence[tuple[str, ImageNotes]], options: ImageOptions) -> list[str]:
  """Returns a sentence on each property that any of the images has.

  Args:
    notes: of each image, with its file name.
    options: which pixels were read.
  """
  turned = [(name, note.orientation) for name, note in notes if note.orientation != 1]
  dark = [(name, note.range_share) for name, note in notes if 0 < note.range_share < SMALL_RANGE]
  sentences = []
  if turned:
    name, orientation = turned[0]
    read = ("they are ignored (--exif stored)" if options.exif == "stored" else
            "they are read upright. If masks were drawn on the stored pixels, prepare the set with "
            "--exif stored")
    sentences.append(f"{len(turned)} of {len(notes)} images have an EXIF orientation, for example "
                     f"{name!r} ({orientation}): {read}")
  if dark:
    name, share = dark[0]
    sentences.append(f"{len(dark)} of {len(notes)} images use less than {SMALL_RANGE:.0%} of their "
                     f"range of intensities, for example {name!r} ({share:.1%}): "
                     "--data.stretch-contrast of mnc train spreads them")
  return sentences
