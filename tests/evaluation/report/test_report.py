import configparser
import fnmatch
import pathlib
import re

import cv2
import numpy as np
import pytest

from helpers import report_sets as sets
from helpers.report_pages import read_page
from mnc_jax.evaluation.metrics.errors import ERROR_KINDS, classify_image
from mnc_jax.evaluation.report import page, pictures, write_report

ROOT = pathlib.Path(__file__).resolve().parents[3]


def write(folder, ground_truth, results, **options):
  return read_page(write_report(folder, ground_truth, results, sets.read_image, **options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("report") / "new" / "folder"
  write_report(folder, *sets.make_set(), sets.read_image, title="Toys <&>",
               scores={"mAP <50>": 0.25}, category_scores={"AP<50>": {sets.CAT: 0.125}})
  return folder


@pytest.fixture(scope="module")
def root(folder):
  return read_page(folder / "index.html")


def rows_of(card):
  return [[cell.text() for cell in row.find("td")] for row in card.find("tr") if row.find("td")]


def test_a_report_that_is_interrupted_leaves_no_older_page_over_its_pictures(tmp_path):
  def interrupt(index):
    raise KeyboardInterrupt
  assert write_report(tmp_path, *sets.make_set(), sets.read_image).is_file()
  with pytest.raises(KeyboardInterrupt):
    write_report(tmp_path, *sets.make_set(), interrupt)
  assert not (tmp_path / "index.html").exists()


def test_cards_come_worst_first_with_their_cost(root):
  found = [(card.find("h3")[0].text(), card.find("p", class_="cost")[0].text())
           for card in root.find("article")]
  # Image 3: confusions .95 and .7, two missed. Image 2: .8 and two missed. Image 1: 1 - .9 + .5.
  assert found == [("1 Image 3 <three> & more.jpg · 80 × 60", "cost 3.65"),
                   ("2 Image 2 80 × 60", "cost 2.80"), ("3 Image 1 80 × 60", "cost 0.60"),
                   ("4 Image 5 80 × 60", "cost 0.40"), ("5 Image 4 80 × 60", "cost 0.00")]


def test_every_error_is_listed_with_kind_score_overlap_and_what_it_was_compared_with(root):
  worst, second, third, fourth, fifth = root.find("article")
  assert rows_of(worst) == [
      ["confusion", f"result 1: {sets.CAT}", "0.95", "1.00", f"instance 2: {sets.DOG}"],
      ["background", f"result 2: {sets.DOG}", "0.70", "0.00", "nothing overlaps it"],
      ["missed", f"instance 1: {sets.CAT}", "–", "0.90", f"closest: {sets.CAT} 0.20, below 0.3"],
      ["missed", f"instance 2: {sets.DOG}", "–", "1.00", f"closest: {sets.CAT} 0.95, result 1"]]
  assert rows_of(second)[0] == [
      "localisation", f"result 1: {sets.CAT}", "0.80", "0.30", f"instance 1: {sets.CAT}"]
  assert rows_of(second)[2] == [
      "missed", f"instance 2: {sets.DOG}", "–", "0.00", "nothing overlaps it"]
  assert rows_of(third) == [["duplicate", f"result 2: {sets.CAT}", "0.50", "0.90",
                             f"instance 1: {sets.CAT}, found by result 1"]]
  assert rows_of(fourth)[0][0] == "background"
  assert "No errors in this image." in fifth.text()


def test_captions_count_what_is_drawn(root):
  captions = [[caption.text() for caption in card.find("figcaption")]
              for card in root.find("article")]
  assert captions[0] == ["Ground truth: 2 instances, 2 missed, 1 crowd region",
                         "Prediction: 3 results, 2 false, 1 below 0.3 not shown"]
  assert captions[2] == ["Ground truth: 1 instance", "Prediction: 2 results, 1 false"]
  assert captions[4] == ["Ground truth: 0 instances", "Prediction: 0 results"]


def test_chart_and_table_count_the_errors(root):
  chart, = root.find("table", class_="kinds")
  rows = [row for row in chart.find("tr") if row.find("td")]
  assert [(row.find("th")[0].text(), *(cell.text() for cell in row.find("td")[:2]))
          for row in rows] == [("duplicate", "1", "11%"), ("confusion", "1", "11%"),
                               ("localisation", "1", "11%"), ("background", "2", "22%"),
                               ("missed", "4", "44%")]
  widths = [row.find("i")[0].attributes["style"] for row in rows]
  assert widths == [f"width: {width}%" for width in ("25.0", "25.0", "25.0", "50.0", "100.0")]
  table, = root.find("section", id="categories")
  lines = [[cell.text() for cell in row.children if not isinstance(cell, str)]
           for row in table.find("tr")]
  assert lines[0] == ["category", "instances", "found", *ERROR_KINDS, "AP<50>", "errors"]
  assert lines[1:] == [[sets.CAT, "3", "1", "1", "1", "1", "0", "2", "0.125", ""],
                       [sets.DOG, "2", "0", "0", "0", "0", "2", "2", "–", ""],
                       ["all", "5", "1", "1", "1", "1", "2", "4", ""]]


def test_head_shows_scores_and_counts(root):
  assert root.find("h1")[0].text() == "Toys <&>"
  tiles = {tile.find("dt")[0].text(): tile.find("dd")[0].text()
           for tile in root.find("dl")[0].find("div")}
  assert tiles == {"mAP <50>": "0.250", "instances found": "1 of 5", "false positives": "5 of 6"}
  assert ("5 images, 5 instances, 7 results scoring 0.3 or more. 1 result below that is ignored"
          in root.find("header")[0].text())
  confusions, = root.find("section", id="confusions")
  assert [line.text() for line in confusions.find("li")] == [
      f"{sets.CAT} where there is {sets.DOG} 1"]


def test_names_are_escaped(root, folder):
  # Read strictly, the page has no element that a name brought in.
  assert len(root.find("script")) == 1
  assert not root.find("three")
  assert [option.text() for option in root.find("option")] == ["all categories", sets.DOG, sets.CAT]
  assert "<three>" not in (folder / "index.html").read_text()


def test_all_links_resolve_inside_the_folder(root, folder):
  ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
  assert len(set(ids)) == len(ids)
  links = [node.attributes[name] for node in root.walk() for name in ("href", "src")
           if name in node.attributes and node.attributes[name] != "data:,"]
  assert len(links) > 25
  for link in links:
    assert link[1:] in ids if link.startswith("#") else (folder / link).is_file(), link
  text = (folder / "index.html").read_text()
  assert not re.findall(r"https?:|//\w+\.|@import|url\(", text)


def test_pictures_have_the_size_in_the_page_and_load_lazily(root, folder):
  images = root.find("img")
  assert len(images) == 10
  for image in images:
    picture = cv2.imread(str(folder / image.attributes["src"]))
    assert picture.shape[:2] == (420, 560)
    assert (image.attributes["height"], image.attributes["width"]) == ("420", "560")
    assert image.attributes["loading"] == "lazy"
    assert image.attributes["alt"]


def test_colors_are_those_of_the_kinds(tmp_path):
  ground_truth, results = sets.make_set()
  annotations, found = ([record for record in records if record["image_id"] == 3]
                        for records in (ground_truth["annotations"], results))
  errors = classify_image(ground_truth["images"][2], annotations, found, min_score=0.3)
  (tmp_path / "images").mkdir()
  names = {1: "cat", 2: "dog"}
  paths = pictures.write_pictures(tmp_path, "x", np.zeros((*sets.SIZE, 3), np.uint8), errors, names)
  drawn = [cv2.imread(str(tmp_path / path))[..., ::-1]
           for path in (paths.ground_truth, paths.results)]
  for picture, column, kind in ((drawn[0], 10, "missed"), (drawn[0], 40, "missed"),
                                (drawn[0], 70, "ignored"), (drawn[1], 40, "confusion")):
    expected = 0.45 * np.array(pictures.KIND_COLORS[kind])
    np.testing.assert_allclose(picture[140, 7 * column], expected, atol=8)
  assert drawn[1][140, 7 * 10].max() < 8  # The faint cat is not drawn.


def test_with_many_results_labels_are_numbers(tmp_path, monkeypatch):
  drawn = []
  def draw(image, records, names, *, colors, labels):
    del records, names, colors
    drawn.append(labels)
    return image
  monkeypatch.setattr(pictures, "draw_instances", draw)
  ground_truth, _ = sets.make_set()
  few, many = ([sets.make_record(1, 1, sets.LEFT, score=0.5)] * count for count in (20, 21))
  for results in (few, many):
    write_report(tmp_path, ground_truth | {"images": ground_truth["images"][:1],
                                    "annotations": ground_truth["annotations"][:1]}, results, None)
  assert drawn[1][19] == f"20 {sets.CAT} 0.50"
  assert drawn[3][19] == "20"
  assert drawn[0] == drawn[2] == [f"1 {sets.CAT}"]


def test_large_pictures_are_shrunk(tmp_path):
  image = {"id": 1, "height": 3000, "width": 1500}
  ground_truth = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "x"}]}
  root = read_page(write_report(tmp_path, ground_truth, [], None))
  assert root.find("img")[0].attributes["height"] == "1024"
  assert "The set has one image." in root.text()
  assert cv2.imread(str(tmp_path / "images" / "0001_ground_truth.jpg")).shape == (1024, 512, 3)
  image |= {"height": 5000, "width": 1}  # Of which less than a pixel would be left.
  write_report(tmp_path, ground_truth, [], None)
  assert cv2.imread(str(tmp_path / "images" / "0001_ground_truth.jpg")).shape == (1024, 1, 3)


def test_only_the_worst_images_are_shown(tmp_path):
  root = write(tmp_path, *sets.make_set(), max_images=2)
  assert len(root.find("article")) == 2
  assert len(list((tmp_path / "images").iterdir())) == 4
  assert ("The worst 2 of 5 images are shown; the others cost 0.60 or less."
          in root.find("section", id="images")[0].text())
  # What is counted is the whole set, and examples are among the images shown.
  assert root.find("table", class_="kinds")[0].find("td")[0].text() == "1"
  assert {link.attributes["href"] for link in root.find("a")} >= {"#card-1", "#card-2"}
  assert not root.find("a", href="#card-3")
  with pytest.raises(ValueError, match="max_images is 0: .* at least 1"):
    write(tmp_path, *sets.make_set(), max_images=0)


def test_kinds_link_to_the_images_with_most_of_them(tmp_path):
  ground_truth, results = sets.make_set()
  results += [sets.make_record(5, 2, sets.LEFT, score=score) for score in (0.31, 0.32)]
  background = write(tmp_path, ground_truth, results).find("span", class_="examples")[3]
  assert background.text() == "Most in image 5 (3), 3 (1)"
  assert [link.attributes["href"] for link in background.find("a")] == ["#card-3", "#card-1"]


def test_each_picture_is_of_its_image(tmp_path):
  indices = []
  def read_image(index):
    indices.append(index)
    return np.full((*sets.SIZE, 3), 40 * index, np.uint8)
  write_report(tmp_path, *sets.make_set(), read_image)
  assert indices == [2, 1, 0, 4, 3]
  for rank, index in enumerate(indices, 1):
    for what in ("ground_truth", "results"):
      picture = cv2.imread(str(tmp_path / "images" / f"{rank:04d}_{what}.jpg"))
      # Nothing is drawn in the lower half.
      np.testing.assert_allclose(picture[300:], 40 * index, atol=3)


def test_an_older_report_is_replaced(tmp_path):
  write(tmp_path, *sets.make_set())
  ground_truth, _ = sets.make_set()
  (tmp_path / "images" / "mine.jpg").touch()
  root = write(tmp_path, ground_truth, [], max_images=1)
  assert root.find("dd")[-1].text() == "0 of 0"
  assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
      "0001_ground_truth.jpg", "0001_results.jpg", "mine.jpg"]


def test_sets_without_images_instances_or_results(tmp_path):
  ground_truth, results = sets.make_set()
  empty = write(tmp_path / "a", ground_truth | {"images": [], "annotations": []}, [])
  assert "The set has no images." in empty.text()
  assert not empty.find("article")
  none_found = write(tmp_path / "b", ground_truth, [])
  assert [card.find("h3")[0].text()[:9] for card in none_found.find("article")][:2] == [
      "1 Image 2", "2 Image 3"]
  # What has not happened has no bar.
  bars = none_found.find("table", class_="kinds")[0].find("i")
  assert [bar.attributes["class"] for bar in bars] == ["bar missed"]
  none_there = write(tmp_path / "c", ground_truth | {"annotations": []}, results)
  assert none_there.find("dd")[-1].text() == "7 of 7"


def test_without_images_masks_are_drawn_on_grey_and_polygons_are_read(tmp_path):
  ground_truth, results = sets.make_set()
  ground_truth["annotations"][0]["segmentation"] = [[0, 0, 20, 0, 20, 30, 0, 30]]
  write_report(tmp_path, ground_truth, results, None)
  picture = cv2.imread(str(tmp_path / "images" / "0003_ground_truth.jpg"))
  np.testing.assert_allclose(picture[300, 300], 160, atol=3)
  assert abs(picture[140, 70].astype(int) - 160).max() > 20


def test_thresholds_are_in_the_text(tmp_path):
  root = write(tmp_path, *sets.make_set(), iou_threshold=0.75, min_score=0.15)
  assert "IoU from 0.1 to below 0.75" in root.text()
  assert "scoring 0.15 or more" in root.text()
  assert tuple(page.describe_kinds(0.5)) == ERROR_KINDS


def test_every_kind_has_its_color_and_button(root):
  style = root.find("style")[0].text()
  for kind in ERROR_KINDS:
    assert f"--{kind}: rgb{pictures.KIND_COLORS[kind]}" in style
    assert f".{kind}::before {{ background: var(--{kind})" in style
    assert len(root.find("button", data_kind=kind)) == 1


def test_the_templates_are_installed_with_the_library():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  patterns = setup["options.package_data"]["mnc_jax"].split()
  inside = [path.relative_to(ROOT / "mnc_jax").as_posix()
            for folder in (page._TEMPLATES, page._CHART_TEMPLATES) for path in folder.iterdir()]
  assert len(inside) == 6
  assert all(any(fnmatch.fnmatch(path, pattern) for pattern in patterns) for path in inside)
