"""The benchmark: its arithmetic is right, and its tables are complete."""

import dataclasses
import importlib.util
import json
import multiprocessing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import __main__ as benchmark
from benchmarks import data as benchmark_data
from benchmarks import evaluation as benchmark_evaluation
from benchmarks import flops
from benchmarks.timing import median_seconds
from mnc_jax.coco.faults import raise_fault
from mnc_jax.config import Config, InferenceConfig, ModelConfig, ProposalConfig, TrainConfig
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.data.readers.drawing import draw_image
from mnc_jax.model.backbones import features
from mnc_jax.model.stages import box_stage, category_stage, mask_stage

SMALL = ModelConfig(
    num_categories=3, box_stage_width=8, roi_size=4, roi_pool=2, mask_hidden=6, mask_size=5,
    dense_width=10, frozen_blocks=2)


def xla_flops(function, *arguments):
  """Returns XLA's own count, before it optimises; it leaves out products with zero padding."""
  return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def test_a_small_case_by_hand():
  config = Config(model=SMALL, inference=InferenceConfig(proposals=ProposalConfig(num_proposals=2)))
  parts = flops.inference_flops(32, 48, config)
  assert parts["box_stage"] == 2 * 6 * (9 * 512 * 8 + 8 * 9 * 6)
  assert parts["roi_warp"] == 4 * 64 * 512 * 4 * 2
  assert parts["mask_stage"] == 2 * 4 * (4 * 4 * 512 * 6 + 6 * 25)
  assert parts["category_stage"] == 2 * 4 * (2 * (4 * 512 * 10 + 10 * 10) + 20 * 18)
  first, second = flops.backbone_layers(32, 48)[:2]
  assert first == (1, 2 * 32 * 48 * 27 * 64)
  assert second == (1, 2 * 32 * 48 * 9 * 64 * 64)


def test_vgg16_at_full_size_is_what_it_is_known_for():
  # 15.3 billion multiply-adds at 224 x 224 (He et al. 2016, table 1 and text, less fc6-8).
  total = sum(count for _, count in flops.backbone_layers(224, 224))
  assert total / 2 == pytest.approx(15.35e9, rel=0.01)


def test_training_costs_three_times_the_forward_pass_but_for_what_is_frozen():
  train = TrainConfig(rois_per_image=4, num_stages=3)
  config = Config(model=SMALL, train=train,
                  inference=InferenceConfig(proposals=ProposalConfig(num_proposals=2)))
  forward = flops.inference_flops(32, 32, config)
  total = flops.training_flops(32, 32, config)
  for part in ("box_stage", "roi_warp", "mask_stage", "category_stage"):
    assert total[part] == 3 * forward[part]
  layers = flops.backbone_layers(32, 32)
  # Blocks 3 to 5, weights and inputs, but for the input of conv3_1.
  above = sum(count for block, count in layers if block > 2)
  assert total["features"] == forward["features"] + 2 * above - layers[4][1]
  five = dataclasses.replace(config, train=dataclasses.replace(train, num_stages=5))
  assert flops.training_flops(32, 32, five)["mask_stage"] == 2 * total["mask_stage"]
  fixed_boxes = dataclasses.replace(
      config, model=dataclasses.replace(SMALL, box_gradient=False))
  assert flops.training_flops(32, 32, fixed_boxes)["roi_warp"] == 2 * forward["roi_warp"]


def test_one_convolution_agrees_with_xla():
  image, kernel = jnp.zeros((1, 40, 40, 8)), jnp.zeros((3, 3, 8, 16))
  convolve = lambda x, w: jax.lax.conv_general_dilated(
      x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
  # Of the 120 rows of products, and of columns, 2 are padding.
  counted = flops.conv_flops(40, 40, 8, 16, kernel=3)
  assert xla_flops(convolve, image, kernel) == pytest.approx(counted * (118 / 120)**2, rel=1e-3)


def test_one_dense_layer_agrees_with_xla():
  counted = xla_flops(jnp.matmul, jnp.zeros((5, 30)), jnp.zeros((30, 7)))
  assert counted == pytest.approx(flops.dense_flops(5, 30, 7))


def _abstract(init, *arguments):
  return jax.eval_shape(lambda key: init(key, *arguments), jax.random.key(0))


def test_each_stage_agrees_with_xla():
  # 10 %: padding is not counted there, activations and biases are not counted here.
  wide = dataclasses.replace(SMALL, box_stage_width=64, mask_hidden=64, dense_width=64)
  roi_features = jnp.zeros((6, 4, 4, 512))
  counted = xla_flops(
      lambda p, x: mask_stage.predict_masks(p, x, config=wide),
      _abstract(mask_stage.init_mask_stage, wide, 512), roi_features)
  assert flops.mask_stage_flops(6, wide) == pytest.approx(counted, rel=0.1)
  counted = xla_flops(
      lambda p, x: category_stage.CategoryStage(wide).apply({"params": p}, x, x),
      _abstract(category_stage.init_category_stage, wide, 512), roi_features)
  assert flops.category_stage_flops(6, wide) == pytest.approx(counted, rel=0.1)
  counted = xla_flops(
      lambda p, x: box_stage.BoxStage(wide).apply({"params": p}, x),
      _abstract(box_stage.init_box_stage, wide, 512), jnp.zeros((20, 20, 512)))
  assert flops.box_stage_flops(20, 20, wide) == pytest.approx(counted, rel=0.1)


def test_convolutional_masks_agree_with_xla():
  config = dataclasses.replace(
      SMALL, mask_head="conv", roi_size=28, mask_size=56, mask_hidden=32)
  counted = xla_flops(
      lambda p, x: mask_stage.predict_masks(p, x, config=config),
      _abstract(mask_stage.init_mask_stage, config, 512), jnp.zeros((2, 28, 28, 512)))
  assert flops.mask_stage_flops(2, config) == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize("frozen_blocks", [1, 2])
def test_the_backbone_and_its_gradient_agree_with_xla(frozen_blocks):
  config = dataclasses.replace(SMALL, frozen_blocks=frozen_blocks)
  params = _abstract(features.init_features, config)
  images = jnp.zeros((1, 320, 320, 3), jnp.uint8)
  sizes = jnp.full((1, 2), 320, jnp.int32)
  forward = lambda p: features.extract_features(p, images, sizes, config=config)
  layers = flops.backbone_layers(320, 320)
  expected = sum(count for _, count in layers)
  assert xla_flops(forward, params) == pytest.approx(expected, rel=0.05)
  expected += flops.backbone_backward(layers, frozen_blocks)
  counted = xla_flops(jax.grad(lambda p: forward(p).sum()), params)
  assert counted == pytest.approx(expected, rel=0.05)


def test_only_vgg16_is_counted():
  with pytest.raises(ValueError, match="small"):
    flops.inference_flops(32, 32, Config(model=ModelConfig(backbone="small", num_categories=2)))


def test_the_median_leaves_the_first_call_out():
  calls = []
  assert median_seconds(lambda: calls.append(1), repeats=3) >= 0
  assert len(calls) == 4


def test_ops_writes_every_row(tmp_path, capsys):
  file = tmp_path / "ops.json"
  benchmark.main([
      "ops", "--nms", "40", "10", "60", "20", "--features", "6", "8", "16", "--rois", "5",
      "--samples", "4", "--chunk", "2", "--candidates", "20", "--instances", "5",
      "--categories", "3", "--repeats", "1", "--no-torchvision", "--json", str(file)])
  report = json.loads(file.read_text())
  names = [row["name"] for row in report["rows"]]
  assert names == [
      "nms 40 -> 10", "nms 60 -> 20",
      *(f"{op}, {method}, {mode}" for op in ("roi_warp", "roi_pool")
        for mode in ("forward", "with gradient") for method in ("gather", "matmul")),
      "vote_masks 20 -> 5"]
  assert all(row["mnc_jax"] > 0 and row["torchvision"] is None for row in report["rows"])
  assert report["options"]["nms"] == [40, 10, 60, 20]
  assert report["machine"]["platform"] == jax.default_backend()
  printed = capsys.readouterr().out
  assert all(name in printed for name in names)


def test_inference_writes_its_figures(tmp_path):
  file = tmp_path / "inference.json"
  benchmark.main([
      "inference", "--height", "64", "--width", "96", "--categories", "3", "--dense-width", "8",
      "--roi-chunk", "64", "--repeats", "1", "--no-torchvision", "--json", str(file)])
  figures = {row["name"]: row["mnc_jax"] for row in json.loads(file.read_text())["rows"]}
  assert figures["images a second"] == pytest.approx(1 / figures["seconds a step"])
  assert figures["peak memory, GB"] > figures["the compiled step alone, GB"] > 0
  counted = figures["GFLOP an image"]
  assert counted == pytest.approx(
      sum(value for name, value in figures.items() if name.startswith("GFLOP an image:")))
  assert figures["TFLOP/s"] == pytest.approx(counted / 1e3 / figures["seconds a step"])


def test_data_writes_its_figures(tmp_path):
  file = tmp_path / "data.json"
  benchmark.main(["data", "--batch", "2", "--batches", "10", "--workers", "0", "--height", "60",
                  "--width", "100", "--json", str(file)])
  report = json.loads(file.read_text())
  assert [row["name"] for row in report["rows"]] == [
      "images a second", "peak memory, first half, GB", "peak memory, second half, GB"]
  assert all(row["mnc_jax"] > 0 for row in report["rows"])
  assert report["notes"][0].startswith("64 images, 7.0 instances an image, 0 workers.")


def test_data_counts_the_memory_of_its_workers():
  with multiprocessing.get_context("spawn").Pool(2) as pool:
    assert pool.apply(abs, (-1,)) == 1  # They run.
    with_workers = benchmark_data.memory()
  alone = benchmark_data.memory()
  # An interpreter takes 10 MB.
  assert with_workers > alone + 0.005


def test_drawn_photographs_are_as_large_as_real_ones(tmp_path):
  coco = read_coco_file(benchmark_data.draw_set(tmp_path), raise_fault)
  assert {len(found) for found in coco.annotations} == {7}
  bits = [8 * (tmp_path / image["file_name"]).stat().st_size / (image["height"] * image["width"])
          for image in coco.images]
  assert min(bits) > 4 and max(bits) < 5


def test_an_odd_number_of_nms_sizes_is_refused():
  with pytest.raises(SystemExit, match="pairs"):
    benchmark.main(["ops", "--nms", "40", "--no-torchvision"])


def test_a_table_lines_up():
  lines = benchmark.format_table([("", "a", "b"), ("nms", 1.5, None), ("longer", 12345.6, 0.25)])
  assert lines.splitlines() == [
      "             a      b", "---------------------", "nms        1.5      -",
      "longer   12346   0.25"]


def test_evaluation_counts_images_instances_and_results(tmp_path):
  file = tmp_path / "evaluation.json"
  benchmark.main(["evaluation", "--images", "2", "--instances", "10", "--json", str(file)])
  report = json.loads(file.read_text())
  assert [row["name"] for row in report["rows"]] == [
      "predicting, s", "scoring by sds, s", "scoring by coco, s", "scoring by boundary, s",
      "peak memory, GB"]
  source = benchmark_evaluation.draw_source(2)
  count = int(source.instance_counts.sum())
  assert report["notes"][0] == f"2 images of 640 x 768, {count} instances, 20 results."


def test_import_writes_its_figures(tmp_path):
  file = tmp_path / "import.json"
  benchmark.main(["import", "--dense-width", "8", "--json", str(file)])
  report = json.loads(file.read_text())
  formats = [name for name in ("caffemodel", "safetensors", "pth")
             if name != "pth" or importlib.util.find_spec("torch")]
  assert [row["name"] for row in report["rows"]] == [
      f"{name}: {what}" for name in formats
      for what in ("whole process, s", "reading, s", "initialising the rest, s",
                   "peak memory, GB")]
  figures = {row["name"]: row["mnc_jax"] for row in report["rows"]}
  assert figures["caffemodel: reading, s"] < figures["caffemodel: whole process, s"]
  # At least the 59 MB of the convolutions.
  assert figures["caffemodel: peak memory, GB"] > 0.059
  assert report["notes"][0] == "caffemodel: 60 MB"


def test_mosaics_and_their_annotations_belong_together():
  source = benchmark_evaluation.draw_source(2)
  annotations = source.read_annotations(1)
  assert len(annotations) == source.instance_counts[1]
  assert annotations[0]["id"] == source.instance_counts[0] + 1
  record = source[1]
  last = record.masks[-1].astype(bool)
  rows, columns = np.flatnonzero(last.any(1)), np.flatnonzero(last.any(0))
  assert rows.min() >= 512 and columns.min() >= 640  # Of the last drawing.
  number = benchmark_evaluation._numbers(1)[-1]
  np.testing.assert_array_equal(record.image[512:, 640:],
                                draw_image(number, benchmark_evaluation._SEED).image)
