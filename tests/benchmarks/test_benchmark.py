"""The benchmark: its arithmetic is right, and its tables are complete."""

import dataclasses
import functools
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
from benchmarks import model as benchmark_model
from benchmarks.timing import median_seconds
from mnc_jax.coco.faults import raise_fault
from mnc_jax.config import Config, InferenceConfig, ModelConfig, ProposalConfig, TrainConfig
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.data.readers.drawing import draw_image
from mnc_jax.model.backbones.vgg16 import VGG16_LAYERS
from mnc_jax.model.forward import extract_stage_features

SMALL = ModelConfig(
    num_categories=3, box_stage_width=8, roi_size=4, roi_pool=2, mask_hidden=6, mask_size=5,
    dense_width=10, frozen_blocks=2)


def config_of(model, **train):
  return Config(model=model, train=TrainConfig(rois_per_image=4, **train),
                inference=InferenceConfig(proposals=ProposalConfig(num_proposals=2)))


def test_a_convolution_and_a_dense_layer_by_hand():
  image, kernel = jnp.zeros((1, 40, 40, 8)), jnp.zeros((3, 3, 8, 16))
  convolve = lambda x, w: jax.lax.conv_general_dilated(
      x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
  # Of the 120 rows of products, and of columns, 2 are padding.
  assert flops.count_flops(convolve, image, kernel) == 2 * 118**2 * 8 * 16
  assert flops.count_flops(jnp.matmul, jnp.zeros((5, 30)), jnp.zeros((30, 7))) == 2 * 5 * 30 * 7


def test_parts_by_hand():
  wide = dataclasses.replace(SMALL, dense_width=64)
  parts = flops.inference_flops(32, 48, config_of(wide))
  # All but activations, biases, softmax and resizing of masks; 4 RoIs.
  by_hand = {"mask_stage": 2 * 4 * (4 * 4 * 512 * 6 + 6 * 25),
             "category_stage": 2 * 4 * (2 * (4 * 512 * 64 + 64 * 64) + 128 * 18),
             "roi_warp": 4 * 64 * 512 * 7}
  for part, count in by_hand.items():
    assert 1 <= parts[part] / count < 1.15, part
  # On 2 x 3 cells, (2 * 2 + 3 * 0) of the 6 rows of products are real, and 7 of 9 columns.
  assert parts["box_stage"] / (2 * (4 * 7 * 512 * 8 + 6 * 8 * 9 * 6)) == pytest.approx(1, abs=0.02)


def test_vgg16_at_full_size_is_what_it_is_known_for():
  # 15.3 billion multiply-adds at 224 x 224 (He et al. 2016, table 1 and text, less fc6-8), of
  # which 3 % are with padding.
  total = flops.inference_flops(224, 224, config_of(SMALL))["features"]
  assert total / 2 == pytest.approx(0.97 * 15.35e9, rel=0.01)


def test_training_costs_three_times_the_forward_pass_except_frozen_layers():
  forward = flops.inference_flops(320, 320, config_of(SMALL))
  total = flops.training_flops(320, 320, config_of(SMALL, num_stages=3))
  for part in ("box_stage", "mask_stage", "category_stage"):
    assert total[part] / forward[part] == pytest.approx(3, rel=0.05), part
  # Blocks 3 to 5, weights and inputs, but for the input of conv3_1.
  by_hand = {layer.name: 2 * (320 // 2 ** (layer.block - 1))**2 * 9 * layer.inputs * layer.outputs
             for layer in VGG16_LAYERS}
  above = sum(by_hand[layer.name] for layer in VGG16_LAYERS if layer.block > 2)
  backward = 2 * above - by_hand["conv3_1"]
  assert total["features"] - forward["features"] == pytest.approx(backward, rel=0.05)
  five = flops.training_flops(320, 320, config_of(SMALL, num_stages=5))
  assert five["mask_stage"] / total["mask_stage"] == pytest.approx(2, rel=0.01)
  fixed = dataclasses.replace(SMALL, box_gradient=False)
  assert (forward["roi_warp"]
          < flops.training_flops(320, 320, config_of(fixed, num_stages=3))["roi_warp"]
          < total["roi_warp"])


@functools.cache
def flops_of_small():
  return flops.training_flops(32, 32, config_of(SMALL))


@pytest.mark.parametrize("model", [
    {"backbone": "small", "mask_head": "conv", "mask_size": 8},
    {"backbone": "resnet26", "share_features": False}, {"roi_method": "matmul"}])
def test_every_model_is_counted(model):
  config = config_of(dataclasses.replace(SMALL, **model))
  parts = flops.training_flops(32, 32, config)
  assert min(parts.values()) > 1000
  assert (parts["roi_warp"] == flops_of_small()["roi_warp"]) == (model == {"roi_method": "matmul"})


def test_the_median_leaves_the_first_call_out():
  calls = []
  assert median_seconds(lambda: calls.append(1), repeats=3) >= 0
  assert len(calls) == 4


def test_the_network_sees_the_images():
  # With all features 0, all scores are equal, and NMS and voting take other turns.
  config = config_of(SMALL)
  images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
  features = jax.jit(functools.partial(extract_stage_features, config=config))(
      benchmark_model.make_params(config), images, np.full((2, 2), (64, 96))).boxes
  assert 0.1 < np.std(features) < 100
  assert np.abs(features[0] - features[1]).mean() > 0.01


def test_weights_hardly_move_from_step_to_step():
  # At the paper's rate, the loss of random weights was 17 at the first step and 30 at the second.
  config = benchmark_model.make_config(benchmark.parse_arguments(["train"]))
  assert 0 < config.train.learning_rate < 1e-6


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
      "--mask-hidden", "8", "--roi-chunk", "64", "--repeats", "1", "--no-torchvision",
      "--json", str(file)])
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
  benchmark.main(["import", "--dense-width", "8", "--mask-hidden", "8", "--json", str(file)])
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
