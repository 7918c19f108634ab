"""What mnc predict prints at its end."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import NamedTuple
import warnings

from mnc_jax.cli.predict_inputs import Inputs
from mnc_jax.coco import faults
from mnc_jax.coco.faults import count_noun
from mnc_jax.evaluation.writers import coco
from mnc_jax.evaluation.writers.formats import describe_places


class Done(NamedTuple):
  """What is counted for the end.

  Attributes:
    scores: of all instances.
    broken: a message for each image that was left out.
    unwritten: a message for each image that a format cannot hold.
    dark: a message for each image that uses little of its range.
    tiled: names of the images that were run in tiles.
    limited: a message for each image in which there may be more than the model can return.
    times: when each image was done, seconds.
  """
  scores: list[float]
  broken: list[str]
  unwritten: list[str]
  dark: list[str]
  tiled: list[str]
  limited: list[str]
  times: list[float]


def report(done: Done, counts: Mapping[str, int], inputs: Inputs, formats: Sequence[str],
           folder: pathlib.Path, min_score: float) -> None:
  """Prints what was found and how fast.

  Args:
    done: what was counted.
    counts: of what formats cannot hold.
    inputs: the images.
    formats: that were written.
    folder: of the output.
    min_score: of confident instances.

  Raises:
    ValueError: if images were left out or not written in a format, naming them.
  """
  target = folder / coco.FILE if "coco" in formats else None
  print(describe(done.scores, len(done.times), target, min_score, noun=inputs.noun,
                 places=describe_places(formats)))
  for text, number in counts.items():
    if number:
      print(f"{text}: {number}.")
  if len(done.tiled) > 1:
    print(f"{len(done.tiled)} of the {inputs.noun}s were run in tiles.")
  if inputs.noun == "frame" and len(done.times) > 1:
    rate = (len(done.times) - 1) / (done.times[-1] - done.times[0])
    print(f"{rate:.2f} frames/s after the first one, with drawing and writing.")
  if done.dark:
    warnings.warn(done.dark[0], stacklevel=2)
  if done.limited:
    others = len(done.limited) - 1
    warnings.warn(done.limited[0] + (f" (the same in {count_noun(others, f'other {inputs.noun}')})"
                                     if others else ""), stacklevel=2)
  _raise_if_incomplete(done, inputs)


def _raise_if_incomplete(done, inputs):
  parts = []
  if done.broken and inputs.noun == "image":
    parts.append(f"{len(done.broken)} of {inputs.total} images were left out:\n  "
                 + "\n  ".join(done.broken))
  elif done.broken:
    # Frames are alike, and so may be thousands of messages.
    parts.append(f"Not all frames could be used:\n{faults.describe(done.broken)}")
  if done.unwritten:
    parts.append(f"Not all formats could be written:\n{faults.describe(done.unwritten)}")
  if parts:
    raise ValueError("\n".join(parts))


def describe(scores: Sequence[float], images: int, target: pathlib.Path | None, min_score: float, *,
             noun: str = "image", places: str = "drawn in the pictures beside it") -> str:
  """Returns how many instances were written, how many of them are drawn, and why none is."""
  drawn = sum(score >= min_score for score in scores)
  written = (f"{count_noun(len(scores), 'instance')} in {count_noun(images, noun)}"
             f"{f', written to {target}' if target else ''}. ")
  if not places:
    return written.rstrip()
  if drawn:
    return (f"{written}{drawn} of them {'is' if drawn == 1 else 'are'} {places}: those of score "
            f"{min_score:g} (--min-score) or more.")
  best = f": the best score is {max(scores):.3f}" if scores else ""
  where = "drawn" if places.startswith("drawn") else places
  return f"{written}None is {where}: none reaches --min-score {min_score:g}{best}."
