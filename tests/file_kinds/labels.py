"""Kinds of folders of label images."""

import functools

import numpy as np
import PIL.Image

from file_kinds.base import Kind, draw, numbers


def _label(number):
  """Returns the instance label of an image: its square has the value 300."""
  return np.where(draw(number)[..., 0] > 125, 300, 0).astype(np.uint16)


def _save(path, labels):
  PIL.Image.fromarray(labels).save(path)


def _write(folder, *, name="{}.png", save=_save, make=_label, lists=None,
           parts=("images", "labels")):
  for part in parts:
    (folder / part).mkdir()
  for _, number in numbers():
    PIL.Image.fromarray(draw(number)).save(folder / "images" / f"{number}.png")
    save(folder / parts[1] / name.format(number), make(number))
  if lists is not None:
    for split in ("train", "val"):
      names = [f"{number}{lists}\n" for part, number in numbers() if part == split]
      (folder / f"{split}.txt").write_text("".join(names))


def _kind(expected="read", *, remark="", options=(), instances=5, iou=0.95, **how):
  return Kind(functools.partial(_write, **how), expected, remark, "label_images", instances,
              iou, options)


def _halves(value):
  """Returns a function that makes masks of one value, in two parts."""
  def make(number):
    labels = (np.where(_label(number) > 0, value, 0)).astype(np.uint8)
    labels[20 + 3 * number:30 + 3 * number] = 0
    return labels
  return make


def _classes(number):
  labels = _halves(3)(number)
  labels[:2, :2] = labels[:2, -2:] = 9
  return labels


def _with_colours(path, labels):
  PIL.Image.fromarray(np.stack([labels.astype(np.uint8)] * 3, axis=-1)).save(path)


KINDS = {
    "label images": _kind(),
    "label images, TIFF": _kind(name="{}.tif"),
    "label images, .PNG": _kind(name="{}.PNG"),
    "label images, NumPy": _kind(name="{}.npy", save=np.save),
    "label images, _mask": _kind(name="{}_mask.png"),
    "label images, _masks": _kind(name="{}_masks.png"),
    "label images, _cp_masks": _kind(name="{}_cp_masks.png"),
    "label images in masks/": _kind(parts=("images", "masks")),
    "lists": _kind(lists=""),
    "lists with suffixes": _kind(lists=".png"),
    "foreground masks": _kind(make=_halves(255), remark="foreground masks", iou=0.6),
    "foreground masks, split": _kind(
        make=_halves(255), options=("--split-components",), instances=10, iou=0.6),
    "class maps": _kind(make=_classes, remark="classes", instances=10, iou=0.6),
    "labels in colours": _kind("has colours", save=_with_colours),
    "labels of another size": _kind("64 x 64", make=lambda number: _label(number)[:60]),
    "labels of other names": _kind("no image", name="x{}.png"),
}
