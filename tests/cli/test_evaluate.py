"""mnc evaluate around the network: a stand-in finds one square in every image."""

import csv
import json
import tempfile

import numpy as np
import pytest

from helpers import tiny
from helpers.toy_sets import make_source
from mnc_jax import cli
from mnc_jax.cli import evaluate, score_files
from mnc_jax.cli import models as trained_models
from mnc_jax.cli.commands import TrainedModel
from mnc_jax.cli.parse import UsageError
from mnc_jax.data import make_ground_truth
from mnc_jax.evaluation import predict_split
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.structs import Instances

CONFIG = tiny.tiny_config(data={"eval_batch_size": 4})


def find_square(params, images, image_sizes):
  """The square of `make_source`, exactly, and a worse one in images of even number."""
  del params, image_sizes
  def repeat(row):
    return np.broadcast_to(np.asarray(row), (len(images), *np.shape(row)))
  return Instances(
      boxes=repeat(np.array([[1, 2, 4, 5], [40, 40, 50, 50]], np.float32)),
      labels=repeat([1, 1]), scores=repeat(np.array([0.9, 0.3], np.float32)),
      masks=repeat(np.ones((2, 12, 12), np.float32)),
      valid=np.stack([np.ones(len(images), bool), images[:, 0, 0, 0] % 2 == 0], -1),
      dropped=repeat(1), truncated_proposals=repeat(5))


@pytest.fixture
def run(monkeypatch, tmp_path):
  """A function that evaluates a toy set of six images, and returns the folder written."""
  model = trained_models.Model({}, CONFIG, ("cat", "dog"), (3, 7),
                               {"source": "random weights", "step": 30})
  monkeypatch.setattr(evaluate, "load_models", lambda options, override: [
      model._replace(config=override(CONFIG))])
  monkeypatch.setattr(evaluate, "load_source", lambda *arguments: make_source([(64, 64)] * 6))
  monkeypatch.setattr(evaluate, "make_predict", lambda configs, mesh: find_square)
  def run_evaluate(*more):
    cli.call("evaluate", ["--workdir", "unused", "--output", str(tmp_path / "out"), *more])
    return tmp_path / "out"
  return run_evaluate


def test_annotations_are_not_overwritten_by_results(run, tmp_path):
  path = tmp_path / "instances_val.json"
  path.write_text("{}")
  with pytest.raises(UsageError, match="--results .*val.json is a file of annotations"):
    run("--data.eval-annotations", str(path), "--data.eval-images", "images",
        "--results", str(path))
  assert path.read_text() == "{}" and not (tmp_path / "out").exists()


def test_three_files_hold_the_scores_of_all_protocols(run, capsys):
  folder = run()
  scores = json.loads((folder / "evaluation.json").read_text())
  assert (scores["images"], scores["instances_found"]) == (6, 9)
  # Of eight places in two batches, fillers among them.
  assert (scores["truncated_proposals"], scores["dropped_instances"]) == (40, 8)
  assert scores["skipped_images"] == 0
  assert scores["instances"] == {"cat": 6}
  assert scores["left_out"] == ["dog"]
  for name in ("mean_ap_r_50", "mean_ap_r_70", "mean_ap_b_50", "mean_ap_b_70"):
    assert scores[name] == 1
  assert scores["0.5"]["counts"]["cat"]["false"] == 3
  for name in ("segm", "bbox", "boundary"):
    assert scores[name]["AP"] == pytest.approx(1, abs=1e-12)
    assert list(scores["per_category"][name]) == ["cat"]
  table = (folder / "evaluation.txt").read_text()
  assert table in capsys.readouterr().out
  assert table.splitlines()[2].split()[:3] == ["cat", "6", "1.000"]
  head, cat, mean = csv.reader((folder / "evaluation.csv").read_text().splitlines())
  assert len(head) == len(cat) == len(mean) == 2 + 8 + 3 * 12
  assert (cat[0], mean[0], cat[head.index("AP^b@0.7 area")]) == ("cat", "mean", "1.0")


def test_the_files_say_what_the_numbers_belong_to(run):
  folder = run("--inference.flip", "--inference.nms-iou", ".5")
  assert json.loads((folder / "evaluation.json").read_text())["scored"] == {
      "data": "toy", "models": [{
          "name": "unused", "origin": "random weights, trained for 30 steps",
          "changed_fields": {"inference.nms_iou": 0.5, "inference.flip": True}}]}
  assert (folder / "evaluation.txt").read_text().endswith(
      "\n\nOf unused (random weights, trained for 30 steps; inference.nms_iou 0.5, inference.flip "
      "True) on toy.\n")
  text = (run() / "evaluation.txt").read_text()
  assert "(random weights, trained for 30 steps) on toy.\n" in text


def test_all_models_of_an_ensemble_are_named():
  models = [trained_models.Model({}, CONFIG, ("cat",), (3,), {"source": name}) for name in "ab"]
  options = TrainedModel(weights="nuclei", ensemble=("runs/x",))
  origin = score_files.describe_origin(options, models, [{}, {"inference.flip": True}],
                                       make_source([(64, 64)]))
  assert score_files.format_origin(origin) == (
      "Of nuclei (a) with runs/x (b; inference.flip True) on toy.")


def test_a_missing_image_is_an_error(run, monkeypatch):
  whole = predict_split.evaluation_batches
  monkeypatch.setattr(predict_split, "evaluation_batches", lambda *arguments, **options:
                      list(whole(*arguments, **options))[:1])
  with pytest.raises(ValueError, match="6 images must be scored exactly once: 2 were not, image "
                     "104 was predicted 0 times"):
    run()


def test_two_processes_score_as_one(run, monkeypatch):
  expected = (run() / "evaluation.json").read_text()
  shares, done = [], evaluate.predict_all
  def gather(share):
    shares.append(share)
    return shares if len(shares) == 2 else [*shares, []]
  monkeypatch.setattr(evaluate.parallel, "gather", gather)
  monkeypatch.setattr(evaluate.parallel, "synchronize", lambda name: None)
  def predict_both(*arguments, **options):
    monkeypatch.setattr(predict_split.jax, "process_count", lambda: 2)
    # Places 2 and 3 of each batch of four: two images and two fillers.
    monkeypatch.setattr(predict_split.jax, "process_index", lambda: 1)
    with pytest.raises(ValueError, match="4 were not, image 100"):
      done(*arguments, **options)
    monkeypatch.setattr(predict_split.jax, "process_index", lambda: 0)
    return done(*arguments, **options)
  monkeypatch.setattr(evaluate, "predict_all", predict_both)
  assert (run() / "evaluation.json").read_text() == expected
  assert [sum(len(part.image_ids) for part in share) for share in shares] == [2, 4]


def test_images_that_are_run_in_tiles_are_counted(capsys):
  source = make_source([(64, 64), (640, 640), (64, 500)])
  evaluate.report_tiles(source, tiny.tiny_config(inference={"max_shrink": 2.0}))
  assert ("2 of 3 images would be shrunk by more than 2 (inference.max_shrink): also run in tiles"
          in capsys.readouterr().out)
  evaluate.report_tiles(source, tiny.tiny_config(inference={"max_shrink": 0.0}))
  evaluate.report_tiles(source, tiny.tiny_config(inference={"max_shrink": 10.0}))
  assert capsys.readouterr().out == ""


def test_other_categories_are_named_by_the_first_that_differs():
  source = make_source([(64, 64)])
  predict_split.check_categories(("cat", "dog"), source)
  with pytest.raises(ValueError, match="the model has 3 categories, toy has 2; number 2 is 'cow' "
                                       "in the first and 'dog' in the second: evaluate on"):
    predict_split.check_categories(("cat", "cow", "dog"), source)
  with pytest.raises(ValueError, match="number 2 is missing in the first and 'dog'"):
    predict_split.check_categories(("cat",), source)


def test_the_report_shows_the_worst_images(run, tmp_path, capsys):
  run("--report", str(tmp_path / "report"), "--report-images", "2")
  page = (tmp_path / "report" / "index.html").read_text()
  assert f"The worst images: {tmp_path / 'report' / 'index.html'}" in capsys.readouterr().out
  assert page.count('<article class="card"') == 2
  # Every instance is found with .9; three images have a false square of .3, and cost .4 each.
  text = " ".join(page.split())
  assert "The worst 2 of 6 images are shown; the others cost 0.40 or less." in text
  assert "<dt>mAP^r at IoU 0.5</dt><dd>1.000</dd>" in page
  assert len(list((tmp_path / "report" / "images").iterdir())) == 4
  assert "9 results scoring 0.3 or more" in text


def test_the_report_omits_low_scores(run, tmp_path):
  run("--report", str(tmp_path / "report"), "--report-min-score", "0.5")
  page = (tmp_path / "report" / "index.html").read_text()
  assert ("6 results scoring 0.5 or more. 3 results below that are ignored"
          in " ".join(page.split()))


def test_results_are_written_for_other_tools(run, tmp_path):
  scores = json.loads((run("--results", str(tmp_path / "new" / "results.json"))
                       / "evaluation.json").read_text())
  results = json.loads((tmp_path / "new" / "results.json").read_text())
  assert [(r["image_id"], r["category_id"]) for r in results][:3] == [(100, 3), (101, 3), (101, 3)]
  again = score_results(make_ground_truth(make_source([(64, 64)] * 6)), results)
  assert again == {name: scores[name] for name in again}


def forbid_prediction(monkeypatch):
  def fail(*arguments):
    raise AssertionError("predicted")
  monkeypatch.setattr(evaluate, "make_predict", lambda configs, mesh: fail)


def test_images_without_an_instance_are_rejected_before_the_work(run, monkeypatch):
  forbid_prediction(monkeypatch)
  monkeypatch.setattr(evaluate, "make_ground_truth", lambda source: {"annotations": []})
  with pytest.raises(ValueError, match="no instance in 6 images, so nothing can be scored"):
    run()


def test_the_number_of_results_that_count_is_checked_before_the_work(run, monkeypatch):
  assert "AR50" in json.loads((run("--max-results", "50") / "evaluation.json").read_text())["segm"]
  forbid_prediction(monkeypatch)
  with pytest.raises(UsageError, match="--max-results is 9: it must be 10 or more"):
    run("--max-results", "9")
  with pytest.raises(UsageError, match="--report-min-score is 30.0: it must be from 0 to 1"):
    run("--report-min-score", "30")


@pytest.mark.parametrize("option", ["--output", "--report", "--results"])
def test_folders_that_cannot_be_made_are_found_before_the_work(run, monkeypatch, tmp_path, option):
  forbid_prediction(monkeypatch)
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="file"):
    run(option, str(tmp_path / "file" / "x" / "y"))


def test_folders_that_cannot_be_written_are_found_before_the_work(run, monkeypatch, tmp_path):
  forbid_prediction(monkeypatch)
  with pytest.raises(UsageError, match="--results .* is a folder: give the name of a file in it"):
    run("--results", str(tmp_path))
  monkeypatch.setattr(tempfile, "TemporaryFile", raise_read_only)
  with pytest.raises(PermissionError, match="read-only"):
    run("--output", str(tmp_path))


def raise_read_only(*, dir):
  raise PermissionError(f"{dir} is read-only")


@pytest.mark.parametrize("suffix", ["json", "csv", "txt"])
def test_results_are_not_overwritten_by_the_scores(run, monkeypatch, tmp_path, suffix):
  forbid_prediction(monkeypatch)
  path = tmp_path / "out" / f"evaluation.{suffix}"
  with pytest.raises(UsageError, match="--results .*evaluation.* is where the scores are written"):
    run("--results", str(path))


def test_results_are_kept_if_the_scores_cannot_be_written(run, monkeypatch, tmp_path, capsys):
  def full(*arguments):
    raise OSError("no space left")
  monkeypatch.setattr(evaluate, "write_scores", full)
  with pytest.raises(OSError, match="no space left"):
    run("--results", str(tmp_path / "results.json"))
  assert len(json.loads((tmp_path / "results.json").read_text())) == 9


def test_the_table_is_printed_if_it_cannot_be_written(tmp_path, capsys):
  scores = score_results(make_ground_truth(make_source([(64, 64)] * 2)), [])
  with pytest.raises(OSError, match="none"):
    score_files.write_scores(tmp_path / "none", scores, {"images": 2},
                             {"models": [], "data": "toy"})
  assert "mAP^r at IoU .5: 0.000" in capsys.readouterr().out
