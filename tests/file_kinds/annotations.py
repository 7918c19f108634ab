"""Kinds of COCO files, and the layouts of labelling tools."""

import functools
import json
import shutil
import unicodedata

import numpy as np
import PIL.Image

from file_kinds.base import (
  IMAGES,
  SIDE,
  Kind,
  annotate,
  draw,
  numbers,
  square,
  write_coco,
  write_json,
)
from mnc_jax.coco.rle import encode_mask


def _save(path, picture):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(picture).save(path)


def _change_rows(table, edit):
  """Returns a function that edits each row of a table of a COCO file."""
  def change(content):
    for row in content[table]:
      edit(row)
  return change


def _images(edit, expected="read", **options):
  return _coco(_change_rows("images", edit), expected, **options)


def _annotations(edit, expected="read", **options):
  return _coco(_change_rows("annotations", edit), expected, **options)


def _coco(change, expected="read", **options):
  return Kind(functools.partial(write_coco, save=_save, change=change), expected, **options)


def _mask(row):
  return np.asarray(draw(row["id"] - 1)[..., 0] > 125)


def _as_runs(row):
  flat = _mask(row).ravel(order="F")
  bounds = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
  row["segmentation"] = {"size": [SIDE, SIDE], "counts": np.diff(bounds).tolist()}


def _as_corners(row):
  left, top, width, height = row["bbox"]
  row["bbox"] = [left, top, left + width, top + height]


def _swap(row):
  left, top, width, height = row["bbox"]
  row["bbox"] = [top, left, height, width]


def _split_rows(content):
  """One row of `images` for each annotation, as some scripts write it."""
  content["images"] += [row | {"id": row["id"] + 100} for row in content["images"]]
  content["annotations"] += [
      row | {"id": row["id"] + 100, "image_id": row["image_id"] + 100,
             "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]], "bbox": [1, 1, 3, 3], "area": 9}
      for row in content["annotations"]]


def _add_placeholder(content):
  content["categories"][0]["supercategory"] = "shapes"
  content["categories"].append({"id": 0, "name": "shapes", "supercategory": "none"})


def _write_shared(folder):
  """The validation images are training images."""
  write_coco(folder, _save)
  for path in (folder / "val").iterdir():
    path.unlink()
  for number in range(IMAGES["val"]):
    shutil.copy(folder / "train" / f"{number}.png", folder / "val")
  content = annotate("train")
  write_json(folder / "instances_val.json",
             {name: rows[:IMAGES["val"]] if name != "categories" else rows
              for name, rows in content.items()})


def _write_accented(folder):
  """Names composed on one system, decomposed on the other."""
  write_coco(folder, _save, change=_change_rows(
      "images", lambda row: row.update(file_name="\u00e4" + row["file_name"])))
  for split, number in numbers():
    path = folder / split / f"{number}.png"
    path.rename(path.with_name(unicodedata.normalize("NFD", f"\u00e4{number}.png")))


def _write_bytes_mark(folder):
  write_coco(folder, _save)
  for path in folder.glob("*.json"):
    path.write_text(path.read_text(), encoding="utf-8-sig")


def _write_layout(folder, *, annotations, images, change=lambda content: None):
  """The set in another layout; patterns have {split} and {number}."""
  for split in IMAGES:
    content = annotate(split)
    change(content)
    write_json(folder / annotations.format(split=split), content)
  for split, number in numbers():
    _save(folder / images.format(split=split, number=number), draw(number))


def _layout(annotations, images, **options):
  change = options.pop("change", lambda content: None)
  return Kind(functools.partial(_write_layout, annotations=annotations, images=images,
                                change=change), **options)


def _write_single(folder, annotations, images):
  content = {name: [*annotate("train")[name], *annotate("val")[name]]
             for name in ("images", "annotations")}
  write_json(folder / annotations, content | {"categories": annotate("train")["categories"]})
  for _, number in numbers():
    _save(folder / images / f"{number}.png", draw(number))


def _single(annotations, images):
  return Kind(functools.partial(_write_single, annotations=annotations, images=images))


def _write_yolo(folder):
  (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [square]\n")
  for split, number in numbers():
    left, top, width, height = square(number)
    _save(folder / "images" / split / f"{number}.png", draw(number))
    corners = [left, top, left + width, top, left + width, top + height, left, top + height]
    path = folder / "labels" / split / f"{number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(["0", *(f"{value / SIDE:.6f}" for value in corners)]) + "\n")


def _write_labelme(folder):
  for _, number in numbers():
    left, top, width, height = square(number)
    _save(folder / f"{number}.png", draw(number))
    write_json(folder / f"{number}.json", {
        "version": "5.0.1", "imagePath": f"{number}.png", "imageData": None, "imageHeight": SIDE,
        "imageWidth": SIDE, "shapes": [{
            "label": "square", "shape_type": "rectangle", "group_id": None, "flags": {},
            "points": [[left, top], [left + width, top + height]]}]})


def _write_via(folder):
  regions = {}
  for _, number in numbers():
    left, top, width, height = square(number)
    name = f"{number}.png"
    _save(folder / name, draw(number))
    regions[name] = {"filename": name, "size": (folder / name).stat().st_size,
                     "file_attributes": {}, "regions": [{
                         "shape_attributes": {"name": "rect", "x": left, "y": top, "width": width,
                                              "height": height},
                         "region_attributes": {"type": "square"}}]}
  (folder / "via.json").write_text(json.dumps(regions))


_AGAIN = r"spelled otherwise"
KINDS = {
    "polygons": _annotations(lambda row: None),
    "RLE": _annotations(_as_runs),
    "compressed RLE": _annotations(
        lambda row: row.update(segmentation=encode_mask(_mask(row)))),
    "polygon without its outer list": _annotations(
        lambda row: row.update(segmentation=row["segmentation"][0])),
    "no masks": _annotations(lambda row: row.pop("segmentation"), "segmentation"),
    "ids as text": _images(lambda row: row.update(id=str(row["id"]))),
    "ids as floats": _images(lambda row: row.update(id=float(row["id"]))),
    "height as text": _images(lambda row: row.update(height=str(row["height"]))),
    "no height": _images(lambda row: row.pop("height"), "height"),
    "wrong height": _images(lambda row: row.update(height=SIDE + 1), "64 x 64"),
    "area not a number": _annotations(lambda row: row.update(area=float("nan")), "area"),
    "unknown category": _annotations(lambda row: row.update(category_id=9), "categor"),
    "unknown image": _annotations(lambda row: row.update(image_id=99), "image"),
    "crowd only": _annotations(lambda row: row.update(iscrowd=1), "crowd"),
    "crowd only, as instances": _annotations(
        lambda row: row.update(iscrowd=1), remark="crowd", data={"crowd_as_instances": True}),
    "boxes as corners": _annotations(_as_corners, remark=r"\[x1, y1, x2, y2\]"),
    "boxes with x and y swapped": _annotations(_swap, remark="swapped|\\[y"),
    "a row of images per annotation": _coco(_split_rows, remark="joined", instances=10),
    "an image in both splits": Kind(_write_shared, remark="both|too|shared"),
    "absolute names": _images(
        lambda row: row.update(file_name=f"/home/a/{row['file_name']}"), remark=_AGAIN),
    "names of Windows": _images(
        lambda row: row.update(file_name=f"C:\\data\\{row['file_name']}"), remark=_AGAIN),
    "names in another case": _images(
        lambda row: row.update(file_name=row["file_name"].upper()), remark=_AGAIN),
    "URL-encoded names": _images(
        lambda row: row.update(file_name=row["file_name"].replace(".", "%2E")), remark=_AGAIN),
    "decomposed names": Kind(_write_accented, remark=_AGAIN),
    "names of nothing": _images(lambda row: row.update(file_name="x.png"), "x.png"),
    "byte order mark": Kind(_write_bytes_mark),
    "Roboflow": _layout("{split}/_annotations.coco.json", "{split}/{number}.png"),
    "Roboflow's placeholder": _layout(
        "{split}/_annotations.coco.json", "{split}/{number}.png", remark="placeholder",
        change=_add_placeholder),
    "FiftyOne": _layout("{split}/labels.json", "{split}/data/{number}.png"),
    "train.json and val.json": _layout("{split}.json", "images/{number}.png"),
    "CVAT": _layout("annotations/instances_{split}.json", "images/{split}/{number}.png"),
    "Label Studio": _single("result.json", "images"),
    "Supervisely": _layout("{split}/annotations/instances.json", "{split}/images/{number}.png"),
    "one file": _single("all.json", "images"),
    "YOLO": Kind(_write_yolo),
    "labelme": Kind(_write_labelme),
    "VIA": Kind(_write_via),
}
