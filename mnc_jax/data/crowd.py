"""Crowd regions that are many of a split's annotations, or all of them."""

import dataclasses
import functools
import warnings

import numpy as np

from mnc_jax.data.records import Annotation, Source

_NOTABLE_SHARE = 0.2  # In COCO 2017 it is .012.


def describe_crowd(name: str, crowd: int, annotations: int) -> str:
  """Returns a sentence if at least a fifth of the annotations are crowd regions, else "".

  Args:
    name: of the split.
    crowd: number of crowd regions.
    annotations: number of annotations, crowd regions included.
  """
  if not crowd or crowd < _NOTABLE_SHARE * annotations:
    return ""
  share = "all" if crowd == annotations else f"{crowd} of"
  return (f"{name}: {share} {annotations} annotations are crowd regions (iscrowd 1), from which "
          "nothing is learned and which no score counts. Some tools write iscrowd 1 for every "
          "mask in RLE: if each of them is one object, set data.crowd_as_instances")


def check_crowd(source: Source) -> None:
  """Warns if at least a fifth of the annotations are crowd regions.

  Raises:
    ValueError: if all of them are.
  """
  crowd, annotations = int(source.crowd_counts.sum()), int(source.instance_counts.sum())
  message = describe_crowd(source.name, crowd, annotations)
  if message and crowd == annotations:
    raise ValueError(message)
  if message:
    warnings.warn(message, stacklevel=3)


def take_as_instances(source: Source) -> Source:
  """Returns the source with each crowd region as an instance."""
  return dataclasses.replace(
      source, crowd_counts=np.zeros_like(source.crowd_counts),
      read_annotations=functools.partial(_read_as_instances, source.read_annotations),
      objects=None)  # They lack the crowd regions.


def _read_as_instances(read_annotations, index: int) -> list[Annotation]:
  return [annotation | {"iscrowd": 0} for annotation in read_annotations(index)]
