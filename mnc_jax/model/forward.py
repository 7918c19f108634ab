"""The stages, applied with their parts of the parameters of the whole model."""

from mnc_jax.config import Config
from mnc_jax.model.backbones import features
from mnc_jax.model.parameters import BACKBONES
from mnc_jax.model.stages import box_stage, category_stage, mask_stage
from mnc_jax.ops.boxes import corner_pixels
from mnc_jax.ops.padding import count_cells
from mnc_jax.ops.roi_warp import roi_pool
from mnc_jax.structs import AnchorOutput, Array, StageFeatures, StageOutput


def extract_stage_features(
    params: dict, images: Array, image_sizes: Array, *, config: Config) -> StageFeatures:
  """Computes each stage's features, by one backbone if `config.model.share_features`.

  Args:
    params: from `init_params`.
    images: [B, H, W, 3] uint8 RGB, zero outside each image.
    image_sizes: [B, 2] int32 (height, width).
    config: the experiment.

  Returns:
    `StageFeatures` with leading B in `config.model.compute_dtype`; zeros for an image of
    size (0, 0).

  Raises:
    ValueError: if the padded size does not fit the backbone.
  """
  extract = lambda name: features.extract_features(
      params[name], images, image_sizes, config=config.model)
  if config.model.share_features:
    return StageFeatures(*[extract("features")] * len(BACKBONES))
  return StageFeatures(*map(extract, BACKBONES))


def score_anchors(params: dict, image_features: StageFeatures, image_size: Array, *,
                  config: Config) -> AnchorOutput:
  """Scores and refines the anchors of one image (stage 1).

  Args:
    params: from `init_params`.
    image_features: of one image.
    image_size: [2] int32 (height, width) in pixels.
    config: the experiment.

  Returns:
    `AnchorOutput`, h * w * A rows, float32; none is valid in an image of size (0, 0). Gradients
    of logits and deltas flow into weights and features.
  """
  return box_stage.score_anchors(
      params["box_stage"], image_features.boxes, image_size,
      stride=features.make_backbone(config.model).stride, config=config.model)


def _roi_features(stage_features, boxes, image_size, samples, model):
  """Returns the warped and pooled features [R, S, S, K] of boxes [R, 4] of one image."""
  stride, cells = features.make_backbone(model).stride, None
  if image_size is not None:
    cells = count_cells(image_size, stride, partial=model.partial_cells)
  return roi_pool(
      stage_features, corner_pixels(boxes) if model.inclusive_corners else boxes,
      size=model.roi_size, pool=samples or model.roi_pool, stride=stride, grid=model.roi_grid,
      method=model.roi_method, border=model.roi_border, chunk=model.roi_chunk, cells=cells)


def mask_and_classify(
    params: dict, image_features: StageFeatures, boxes: Array, valid: Array, *, config: Config,
    image_size: Array | None = None, samples: int = 0) -> StageOutput:
  """Runs the RoI heads, stages 2 and 3 (or 4 and 5), on boxes of one image.

  Args:
    params: from `init_params`.
    image_features: of one image.
    boxes: [R, 4].
    valid: [R] bool.
    config: the experiment.
    image_size: [2] int32 (height, width) inside the padding; None: there is no padding.
    samples: per RoI cell and axis; 0: `config.model.roi_pool`.

  Returns:
    `StageOutput`. Gradients flow into weights, features and box coordinates.
  """
  model = config.model
  pool = lambda stage_features: _roi_features(
      stage_features, boxes, image_size, samples, model)
  roi_features = pool(image_features.masks)
  mask_logits = mask_stage.predict_masks(params["mask_stage"], roi_features, config=model)
  if not model.share_features:
    roi_features = pool(image_features.categories)
  categories, box_categories, deltas = category_stage.predict_categories(
      params["category_stage"], roi_features, mask_logits, config=model)
  return StageOutput(boxes, valid, mask_logits, categories, box_categories, deltas)
