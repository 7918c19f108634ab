"""Folders as labelling tools export them, in COCO format and others."""

import base64
import copy
import io
import json
import math

import numpy as np
import PIL.Image
import pytest

from helpers.toy_sets import coco_content, read_listing
from helpers.yolo_files import write_image, write_labelled, write_text
from mnc_jax.coco.rle import decode_mask
from mnc_jax.data import prepare, set_folder
from mnc_jax.data.prepared.index import open_split
from mnc_jax.data.readers import layouts
from mnc_jax.data.readers.coco import list_coco


def write_json(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def write_images(folder, content):
  for image in content["images"]:
    write_image(folder / image["file_name"], size=(image["height"], image["width"]))


def coco_split(split):
  content = coco_content()
  for image in content["images"]:
    image["file_name"] = f"{split}_{image['file_name']}"
  return content


@pytest.mark.parametrize(("annotations", "images", "names"), [
    ("{}/_annotations.coco.json", "{}", ("train", "valid")),  # Roboflow.
    ("{}.json", "{}", ("train", "val")),
    ("annotations/{}.json", "images/{}", ("train2017", "val2017")),
    ("annotations/instances_{}.json", "images/{}", ("Train", "Validation")),  # CVAT.
    ("{}/labels.json", "{}/data", ("train", "validation")),  # FiftyOne.
    # Supervisely.
    ("project/{}/annotations/instances.json", "project/{}/images", ("train", "val"))])
def test_splits_of_tools(tmp_path, annotations, images, names):
  for name in names:
    write_json(tmp_path / annotations.format(name), coco_split(name))
    write_images(tmp_path / images.format(name), coco_split(name))
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert not faults
  for split, name in zip(("train", "validation"), names, strict=True):
    assert [entry.file_name for entry in found.splits[split]] == [
        f"{images.format(name)}/{name}_{image}.png" for image in ("a", "b", "empty")]
    assert [[a["area"] for a in content.annotations] for content in contents[split]] == [
        [24.5, 6.0], [25.0], []]


@pytest.mark.parametrize(("annotations", "images", "prefix"), [
    ("labels.json", "data", ""),  # FiftyOne.
    ("result.json", ".", "images/"),  # Label Studio.
    ("annotations/instances_default.json", "images/default", ""),  # CVAT.
    ("project/ds0/annotations/instances.json", "project/ds0/images", ""),  # Supervisely.
    ("train/_annotations.coco.json", "train", "")])  # Roboflow without a split.
def test_single_files_of_tools(tmp_path, annotations, images, prefix):
  content = coco_content()
  for image in content["images"]:
    image["file_name"] = prefix + image["file_name"]
  write_json(tmp_path / annotations, content)
  write_images(tmp_path / images, content)
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert {split: len(entries) for split, entries in found.splits.items()} == {
      "train": 2, "validation": 1}
  assert sum(len(c.annotations) for split in contents.values() for c in split) == 3


def test_a_file_of_a_test_split_is_for_validation(tmp_path):
  for name in ("Train", "Test"):  # CVAT, of a project with these subsets.
    write_json(tmp_path / "annotations" / f"instances_{name}.json", coco_split(name))
    write_images(tmp_path / "images" / name, coco_split(name))
  found, _, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert [entry.file_name for entry in found.splits["validation"]] == [
      f"images/Test/Test_{image}.png" for image in ("a", "b", "empty")]


def test_a_test_split_is_for_validation_or_left_out(tmp_path):
  for name in ("train", "test"):
    write_json(tmp_path / name / "_annotations.coco.json", coco_split(name))
    write_images(tmp_path / name, coco_split(name))
  found, _, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert found.splits["validation"][0].file_name == "test/test_a.png"
  write_json(tmp_path / "valid" / "_annotations.coco.json", coco_split("valid"))
  write_images(tmp_path / "valid", coco_split("valid"))
  found, _, (fault,) = read_listing(list_coco, tmp_path)
  assert found.splits["validation"][0].file_name == "valid/valid_a.png"
  assert "test/_annotations.coco.json is left out" in fault.message


@pytest.mark.parametrize("name", ["plants", "tree"])  # Of the project, or of a category too.
def test_roboflows_placeholder_is_dropped(tmp_path, name):
  for split in ("train", "valid"):
    content = coco_split(split)
    content["categories"] = [{"id": 0, "name": name, "supercategory": "none"}] + [
        row | {"supercategory": "plants"} for row in content["categories"]]
    write_json(tmp_path / split / "_annotations.coco.json", content)
    write_images(tmp_path / split, content)
  found, _, faults = read_listing(list_coco, tmp_path)
  assert found.categories == [{"id": 5, "name": "bird"}, {"id": 20, "name": "tree"}]
  assert [fault.item for fault in faults] == ["set"] * 2
  assert f"category 0, '{name}', was left out: a placeholder of Roboflow" in faults[0].message


def test_a_placeholder_without_a_name_is_a_bad_category(tmp_path):
  content = coco_content()
  content["categories"] = [{"id": 0, "supercategory": "none"}] + content["categories"]
  write_json(tmp_path / "all.json", content)
  with pytest.raises(ValueError, match="item 0 of 'categories' .*no field 'name'"):
    list_coco(tmp_path, None)


@pytest.mark.parametrize("change", [
    lambda content: content["annotations"][0].update(category_id=0),
    lambda content: content["categories"][0].update(supercategory="thing"),
    lambda content: content["categories"][1].update(supercategory="thing")])
def test_a_category_0_that_is_no_placeholder_stays(tmp_path, change):
  content = coco_content()
  content["categories"] = [{"id": 0, "name": "plants", "supercategory": "none"}] + [
      row | {"supercategory": "plants"} for row in content["categories"]]
  change(content)
  write_json(tmp_path / "all.json", content)
  write_images(tmp_path, content)
  found, _, faults = read_listing(list_coco, tmp_path)
  assert [row["id"] for row in found.categories] == [0, 5, 20]
  assert not faults


def test_several_sets_in_one_folder(tmp_path):
  for name in ("ds0", "ds1"):
    write_json(tmp_path / name / "annotations" / "instances.json", coco_content())
  with pytest.raises(ValueError, match="found: ds0, ds1"):
    list_coco(tmp_path, None)


@pytest.mark.parametrize("text", ['{"name": "cats", "version": 2}', "[1, 2]", "not JSON"])
def test_other_json_files_do_not_hide_a_layout(tmp_path, text):
  roboflow, yolo = tmp_path / "roboflow", tmp_path / "yolo"
  for name in ("train", "valid"):
    write_json(roboflow / name / "_annotations.coco.json", coco_split(name))
    write_images(roboflow / name, coco_split(name))
    write_labelled(yolo / "images" / name / "a.png")
  (yolo / "data.yaml").write_text("names: [cat]\ntrain: images/train\nval: images/valid\n")
  for folder, count in ((roboflow, 3), (yolo, 1)):
    (folder / "about.json").write_text(text)
    found, _, faults = read_listing(list_coco, folder)
    assert {split: len(entries) for split, entries in found.splits.items()} == {
        "train": count, "validation": count}
    assert not faults


@pytest.mark.parametrize("inner", ["", "set", "animals"])
def test_changed_annotations_of_a_split_folder_are_noticed(tmp_path, inner):
  source = tmp_path / "source"
  for name in ("train", "valid"):
    write_json(source / inner / name / "_annotations.coco.json", coco_split(name))
    write_images(source / inner / name, coco_split(name))
  prepare("coco", source, tmp_path / "data")
  prepare("coco", source, tmp_path / "data")
  content = coco_split("valid")
  del content["annotations"][0]
  write_json(source / inner / "valid" / "_annotations.coco.json", content)
  with pytest.raises(ValueError, match="have changed since"):
    prepare("coco", source, tmp_path / "data")


def test_yolo_is_prepared_with_the_right_areas(tmp_path):
  source = tmp_path / "source"
  (source / "data.yaml").parent.mkdir()
  (source / "data.yaml").write_text(
      "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
  for name in ("train/images/a", "train/images/b", "valid/images/c"):
    write_image(source / f"{name}.jpg")
  square = "0.5 0.25 1 0.25 1 0.75 0.5 0.75"  # 30 x 20 pixels of 60 x 40.
  for name, lines in (("train/labels/a", f"1 {square}\n0 0 0 .5 0 .5 .5 0 .5\n\n"),
                      ("valid/labels/c", f"0 {square}")):
    (source / f"{name}.txt").parent.mkdir(exist_ok=True)
    (source / f"{name}.txt").write_text(lines)
  prepare("coco", source, tmp_path / "data")
  train = open_split(set_folder("coco", tmp_path / "data"), "train")
  assert train.category_names == ("cat", "dog")
  assert train.instance_counts.tolist() == [2, 0]
  first, second = train.read_annotations(0)
  assert (first["category_id"], first["bbox"], first["area"]) == (1, [30, 10, 30, 20], 600)
  assert (second["category_id"], second["bbox"], second["area"]) == (0, [0, 0, 30, 20], 600)


def test_splits_and_lists_of_yolo(tmp_path):
  for name in "abc":
    write_labelled(tmp_path / "images" / f"{name}.png")
  (tmp_path / "train.txt").write_text("./images/b.png\n./images/a.png\n")
  (tmp_path / "other.txt").write_text("images/c.png\n")
  yaml = "names: [cat]\ntrain: train.txt\ntest: other.txt\n"
  (tmp_path / "set.yml").write_text(yaml)
  found, _, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert {split: [entry.file_name for entry in entries]
          for split, entries in found.splits.items()} == {
              "train": ["images/b.png", "images/a.png"], "validation": ["images/c.png"]}
  (tmp_path / "set.yml").write_text(yaml + "val: [other.txt]\n")
  _, _, (fault,) = read_listing(list_coco, tmp_path)
  assert "the images of 'test' are left out" in fault.message
  (tmp_path / "set.yml").write_text("names: [cat]\ntrain: /elsewhere/photographs\n")
  with pytest.raises(ValueError, match="no image of 'train', /elsewhere/photographs, is in"):
    list_coco(tmp_path, None)


@pytest.mark.parametrize("line", [
    "/home/me/set/images/{}", "C:\\sets\\images\\{}", "../images/{}", "images/{}", "set/images/{}"])
def test_paths_in_lists_of_yolo_are_found_by_their_end(tmp_path, line):
  for name in "abc":
    write_labelled(tmp_path / "images" / f"{name}.png")
  (tmp_path / "lists").mkdir()
  (tmp_path / "lists" / "train.txt").write_text(f"{line.format('b.png')}\n{line.format('a.png')}\n")
  (tmp_path / "lists" / "val.txt").write_text(line.format("c.png"))
  (tmp_path / "data.yaml").write_text(
      "names: [cat]\npath: ..\ntrain: lists/train.txt\nval: lists/val.txt\n")
  found, _, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert {split: [entry.file_name for entry in entries]
          for split, entries in found.splits.items()} == {
              "train": ["images/b.png", "images/a.png"], "validation": ["images/c.png"]}


def test_paths_in_lists_of_yolo_may_go_up(tmp_path):
  write_image(tmp_path / "a.png")
  write_labelled(tmp_path / "images" / "b.png")
  (tmp_path / "a.txt").write_text("0 0 0 1 0 1 1\n")  # Beside the image.
  (tmp_path / "train.txt").write_text("images/../a.png\na.png\n")
  (tmp_path / "data.yaml").write_text("names: [cat]\ntrain: train.txt\nval: images\n")
  found, _, faults = read_listing(list_coco, tmp_path)
  assert not faults
  (entry,) = found.splits["train"]
  assert entry.file_name == "a.png"
  assert len(entry.read(print).annotations) == 1


def test_images_of_yolo_that_are_missing_or_outside_are_reported(tmp_path):
  folder = tmp_path / "set"
  write_image(tmp_path / "secret.png")
  for name in ("train/a", "val/b"):
    write_labelled(folder / "images" / f"{name}.png")
  (folder / "images" / "val" / "link.png").symlink_to(tmp_path / "secret.png")
  (folder / "train.txt").write_text("images/train/a.png\n\n/else/where.png\n../secret.png\n")
  yaml = folder / "data.yaml"
  yaml.write_text("names: [cat]\ntrain: train.txt\nval: images/val\n")
  found, _, faults = read_listing(list_coco, folder)
  assert {split: len(entries) for split, entries in found.splits.items()} == {
      "train": 1, "validation": 1}
  assert [(fault.item, fault.message) for fault in faults] == [("image", message) for message in (
      f"{folder}/train.txt, line 3: /else/where.png: no such image in {folder}",
      f"{folder}/train.txt, line 4: ../secret.png: no such image in {folder}",
      f"{folder}/images/val/link.png: no such image in {folder}")]
  (folder / "train.txt").write_text(f"/else/where.png\n{'x' * 5000}\n")
  with pytest.raises(ValueError, match="no image of 'train', train.txt, is in .*:\n.*line 1: /"):
    list_coco(folder, None)
  (tmp_path / "secret.txt").write_text("secret")
  yaml.write_text("names: [cat]\ntrain: images/train\ntest: [images/val, ../secret.txt]\n")
  _, _, faults = read_listing(list_coco, folder)
  assert faults[1].message == f"{yaml}: 'test' names ../secret.txt, which is not in {folder}"


def test_an_image_of_a_list_that_is_missing_is_not_another_of_its_name(tmp_path):
  for name in ("a", "c"):
    write_labelled(tmp_path / "images" / f"{name}.png")
  (tmp_path / "train.txt").write_text(
      "/x/images/a.png\n/x/other/a.png\nimages/a.png\n/x/images\n/x/images/c.png\n")
  (tmp_path / "data.yaml").write_text("names: [cat]\ntrain: train.txt\n")
  found, _, faults = read_listing(list_coco, tmp_path)
  assert sorted(entry.file_name for entries in found.splits.values() for entry in entries) == [
      "images/a.png", "images/c.png"]
  assert [fault.message for fault in faults] == [
      f"{tmp_path}/train.txt, line {line}: no such image in {tmp_path}"
      for line in ("2: /x/other/a.png", "4: /x/images")]


def test_reasons_why_no_image_of_yolo_can_be_used(tmp_path):
  write_text(tmp_path / "labels" / "a.txt", "")
  (tmp_path / "images").mkdir()
  (tmp_path / "images" / "a.png").write_bytes(b"no image")
  (tmp_path / "data.yaml").write_text("names: [cat]\ntrain: images\n")
  with pytest.raises(ValueError, match="no image of it can be used:\n.*a.png cannot be decoded"):
    list_coco(tmp_path, [].append)


def test_yolo_without_any_images(tmp_path):
  (tmp_path / "data.yaml").write_text("names: [cat]\ntrain:\nval: ''\n")
  with pytest.raises(ValueError, match="data.yaml: 'train' and 'val' are empty"):
    list_coco(tmp_path, None)


@pytest.mark.parametrize("value", ["2024-13-45", "!!int x"])
def test_other_yaml_files_do_not_hide_yolo(tmp_path, value):
  for name in "ab":
    write_labelled(tmp_path / "images" / f"{name}.png")
  (tmp_path / "about.yaml").write_text(f"date: {value}\n")
  (tmp_path / "data.yaml").write_text("names: [cat]\ntrain: images\ndate: 2024-13-45\n")
  found, _, faults = read_listing(list_coco, tmp_path)
  assert sum(map(len, found.splits.values())) == 2 and not faults


@pytest.mark.parametrize(("line", "message"), [
    ("0 .5 .5 .2 .2", "a class and a box: a polygon is needed"),
    ("2 0 0 1 0 1 1", "the class 2 is not in 'names', which has 2"),
    ("0 0 0 1 0 1", "5 numbers after the class"),
    ("0 0 0 30 0 30 20", "shares of the image, 0 ... 1, not pixels"),
    ("0 0 0 1 x 1 1", "are not numbers"), ("0 0 0 nan 0 1 1", "shares of the image")])
def test_lines_of_yolo_that_are_wrong(tmp_path, line, message):
  (tmp_path / "coco.yaml").write_text(f"path: {tmp_path}\ntrain: images\nnames: {{0: a, 1: b}}\n")
  for name in ("a", "b"):
    write_image(tmp_path / "images" / f"{name}.png")
  (tmp_path / "labels").mkdir()
  (tmp_path / "labels" / "a.txt").write_text(f"1 0 0 1 0 1 1\n{line}\n")
  found, contents, (fault,) = read_listing(list_coco, tmp_path)
  assert f"labels/a.txt, line 2: {message}" in fault.message.replace(str(tmp_path) + "/", "") or (
      message in fault.message)
  assert sorted(map(len, found.splits.values())) == [1, 1]
  assert sum(len(c.annotations) for split in contents.values() for c in split) == 1


def labelme(name, shapes):
  return {"version": "5.5.0", "imagePath": f"..\\images\\{name}.png", "imageData": None,
          "imageHeight": 40, "imageWidth": 60, "shapes": [
              {"label": label, "points": points, "group_id": group, "shape_type": kind, **more}
              for label, kind, points, group, more in shapes]}


def encode_png(mask):
  file = io.BytesIO()
  PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
  return base64.b64encode(file.getvalue()).decode()


def test_labelme_shapes(tmp_path):
  mask = np.eye(3)
  write_json(tmp_path / "train" / "a.json", labelme("a", [
      ("dog", "polygon", [[10, 10], [20, 10], [20, 20], [10, 20]], None, {}),
      ("cat", "rectangle", [[30, 30], [10, 25]], 1, {}),
      ("cat", "rectangle", [[40, 30], [50, 25]], 1, {}),  # Its other half, behind something.
      ("cat", "circle", [[30, 20], [40, 20]], None, {}),
      ("dog", "mask", [[4, 5], [6, 7]], None, {"mask": encode_png(mask)}),
      ("dog", "line", [[0, 0], [5, 5]], None, {})]))
  write_json(tmp_path / "val" / "b.json", labelme("b", []))
  for name in ("a", "b"):
    write_image(tmp_path / {"a": "train", "b": "val"}[name] / "images" / f"{name}.png")
  found, contents, (fault,) = read_listing(list_coco, tmp_path)
  assert found.categories == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
  assert "train/a.json: shape 5: a line of 2 points has no area" in fault.message
  (content,), (empty,) = contents["train"], contents["validation"]
  assert empty.annotations == []
  assert [(a["category_id"], a["bbox"]) for a in content.annotations] == [
      (2, [10, 10, 10, 10]), (1, [10, 25, 40, 5]), (1, [20, 10, 20, 20]), (2, [4, 5, 3, 3])]
  areas = [a["area"] for a in content.annotations]
  assert areas[:2] + areas[3:] == [100, 150, 3]
  assert areas[2] == pytest.approx(math.pi * 100, rel=0.03)
  drawn = decode_mask(content.annotations[3]["segmentation"])
  np.testing.assert_array_equal(drawn[5:8, 4:7], mask)


def test_outlines_of_labelme_and_xanylabeling(tmp_path):
  square = [[10, 10], [20, 10], [20, 20], [10, 20]]
  turned = [[30, 10], [35, 15], [30, 20], [25, 15]]
  for name in ("a", "b"):
    write_json(tmp_path / f"{name}.json", labelme(name, [
        (label, kind, points, None, {}) for label, kind, points in (
            ("dog", "rectangle", square), ("dog", "rotation", turned),
            ("cat", "oriented_rectangle", turned), ("cat", None, square),
            ("dog", "polygon", square[:2]), ("dog", "cuboid", square * 2))]))
    write_image(tmp_path / "images" / f"{name}.png")
  _, contents, faults = read_listing(list_coco, tmp_path)
  (content,) = contents["train"]
  assert [(a["bbox"], a["area"]) for a in content.annotations] == [
      ([10, 10, 10, 10], 100), ([25, 10, 10, 9], 50), ([25, 10, 10, 9], 50),
      ([10, 10, 10, 10], 100)]
  assert [fault.message.partition(": ")[2] for fault in faults[:2]] == [
      "shape 4: a polygon of 2 points has no area",
      "shape 5: a shape of the type cuboid is not read: draw it as a polygon"]


def test_labels_of_labelme_that_are_reserved_or_have_spaces(tmp_path):
  labels = ("dog", "__ignore__", " dog ", "_background_ ", "cat\t", " ")
  for name in ("a", "b"):
    write_json(tmp_path / f"{name}.json", labelme(name, [
        (label, "polygon", [[x, 10], [x + 10, 10], [x + 10, 20], [x, 20]], None, {})
        for x, label in enumerate(labels)]))
    write_image(tmp_path / "images" / f"{name}.png")
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert found.categories == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
  (content,) = contents["train"]
  assert [a["category_id"] for a in content.annotations] == [2, 2, 1]
  assert [(fault.item, fault.message) for fault in faults[:3]] == [
      ("annotation", f"{tmp_path}/a.json: shape {index}: {reason}") for index, reason in (
          (1, "left out, since labelme keeps the label '__ignore__' for what is no object"),
          (3, "left out, since labelme keeps the label '_background_' for what is no object"),
          (5, "an object with a 'label' is needed"))]
  assert len(faults) == 6


def test_labelme_files_that_are_called_as_splits_are_do_not_hide_the_others(tmp_path):
  square = [[10, 10], [20, 10], [20, 20], [10, 20]]
  names = ("bridge", "house", "train", "valley")
  for name in names:
    write_json(tmp_path / f"{name}.json", labelme(name, [("dog", "polygon", square, None, {})]))
    write_image(tmp_path / "images" / f"{name}.png")
  found, _, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert {entry.file_name for entries in found.splits.values() for entry in entries} == {
      f"images/{name}.png" for name in names}


def test_the_copy_of_the_image_in_labelmes_files_is_not_kept(tmp_path, monkeypatch):
  for name in ("a", "b"):
    square = ("dog", "polygon", [[10, 10], [20, 10], [20, 20], [10, 20]], None, {})
    write_json(tmp_path / f"{name}.json", labelme(name, [square]) | {"imageData": "AAAA" * 1000})
    write_image(tmp_path / "images" / f"{name}.png")
  kept, convert = [], layouts.convert_labelme
  monkeypatch.setattr(layouts, "convert_labelme",
                      lambda files, report: kept.extend(files) or convert(files, report))
  read_listing(list_coco, tmp_path)
  assert len(kept) == 2 and not any("imageData" in content for _, content in kept)


def test_labelme_files_beside_a_folder_of_images(tmp_path):
  square = [[10, 10], [20, 10], [20, 20], [10, 20]]
  for name in ("a", "b"):
    write_json(tmp_path / "labels" / f"{name}.json", labelme(name, [
        ("dog", "polygon", square, None, {})]))
    write_image(tmp_path / "images" / f"{name}.png")
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert {entry.file_name for entries in found.splits.values() for entry in entries} == {
      "images/a.png", "images/b.png"}
  assert [c.annotations[0]["area"] for split in contents.values() for c in split] == [100, 100]


def via(shapes, attributes):
  regions = [{"shape_attributes": shape, "region_attributes": attribute}
             for shape, attribute in zip(shapes, attributes, strict=True)]
  return {f"{name}.png1234": {"filename": f"{name}.png", "size": 1234, "regions": regions,
                              "file_attributes": {}} for name in ("a", "b")}


SHAPES = [{"name": "polygon", "all_points_x": [10, 20, 20, 10], "all_points_y": [5, 5, 20, 20]},
          {"name": "rect", "x": 1, "y": 2, "width": 8, "height": 4},
          {"name": "ellipse", "cx": 30, "cy": 20, "rx": 10, "ry": 5, "theta": math.pi / 2},
          {"name": "point", "cx": 3, "cy": 4}]


@pytest.mark.parametrize("wrap", [
    lambda images: images, lambda images: {"_via_settings": {}, "_via_img_metadata": images},
    lambda images: {key: row | {"regions": {str(k): region for k, region in
                                            enumerate(row["regions"])}}
                    for key, row in images.items()}])  # VIA 1.
def test_via_shapes(tmp_path, wrap):
  images = via(SHAPES, [{"type": "dog", "note": "x"}, {"type": "cat"}, {"type": {"dog": True}},
                        {"type": "cat"}])
  write_json(tmp_path / "via_region_data.json", wrap(images))
  for name in ("a", "b"):
    write_image(tmp_path / "images" / f"{name}.png")
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert found.categories == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
  assert len(faults) == 2
  assert "region 3 of a.png: a point has no area" in faults[0].message
  for (content,) in contents.values():
    first, second, third = content.annotations
    assert (first["category_id"], first["area"], first["bbox"]) == (2, 150, [10, 5, 10, 15])
    assert (second["category_id"], second["area"], second["bbox"]) == (1, 32, [1, 2, 8, 4])
    assert (third["category_id"], third["bbox"]) == (2, [25, 10, 10, 20])
    assert third["area"] == pytest.approx(math.pi * 50, rel=0.05)


def test_regions_of_via_that_are_wrong(tmp_path):
  images = via(SHAPES[:1], [{"class": "dog"}])
  images["a.png1234"]["regions"] += [
      None, {}, {"shape_attributes": SHAPES[0], "region_attributes": [None]},
      {"shape_attributes": {"name": "rect", "x": "1"}, "region_attributes": {"class": "dog"}}]
  write_json(tmp_path / "via.json", images)
  for name in ("a", "b"):
    write_image(tmp_path / f"{name}.png")
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert sum(len(c.annotations) for split in contents.values() for c in split) == 2
  assert [fault.message.split("region ")[1][:1] for fault in faults] == list("1234") * 2
  assert "no field 'y'" in faults[3].message


def test_via_whose_category_is_unclear_or_images_missing(tmp_path):
  images = via(SHAPES[:1], [{"colour": "red", "size": "big"}])
  write_json(tmp_path / "via.json", images)
  write_image(tmp_path / "a.png")
  with pytest.raises(ValueError, match="the attributes colour, size: call the one .* 'class'"):
    list_coco(tmp_path, None)
  write_json(tmp_path / "via.json", copy.deepcopy(via(SHAPES[:1], [{}])) | {
      "c": {"filename": "c.png", "regions": []}})
  write_image(tmp_path / "b.png")
  found, _, (fault,) = read_listing(list_coco, tmp_path)
  assert found.categories == [{"id": 1, "name": "object"}]
  assert "there is no image 'c.png' in" in fault.message
