"""The same work by torchvision, where it is installed, on the kind of device that jax uses."""

import functools

import jax
import torch
import torchvision

from benchmarks.timing import median_seconds

_CUDA = jax.default_backend() == "gpu" and torch.cuda.is_available()
DEVICE = torch.device("cuda" if _CUDA else "cpu")


def _wait(result):
  if _CUDA:
    torch.cuda.synchronize()
  return result


def _place(array):
  return torch.tensor(array, device=DEVICE)


def nms_seconds(boxes, scores, iou_threshold, kept, *, repeats):
  """Times `torchvision.ops.nms`, which returns more than `kept` before it is cut."""
  boxes, scores = _place(boxes), _place(scores)
  suppress = lambda: torchvision.ops.nms(boxes, scores, iou_threshold)[:kept]
  return median_seconds(suppress, repeats=repeats, wait=_wait)


def roi_seconds(features, boxes, samples, pool, *, stride, gradient, dtype, repeats):
  """Times `roi_align` with one sample a cell, then max-pooling; the gradient is of features."""
  dtype = getattr(torch, dtype)
  features = _place(features).permute(2, 0, 1)[None].contiguous().to(dtype)
  boxes = [_place(boxes).to(dtype)]

  def pooled():
    warped = torchvision.ops.roi_align(
        features, boxes, samples, 1 / stride, sampling_ratio=1, aligned=True)
    return torch.nn.functional.max_pool2d(warped, pool) if pool > 1 else warped

  def differentiated():
    features.grad = None
    pooled().square().sum().backward()
    return features.grad

  features.requires_grad_(gradient)
  return median_seconds(differentiated if gradient else pooled, repeats=repeats, wait=_wait)


def mask_rcnn_figures(command, images, boxes, labels, *, categories, dtype, repeats):
  """Times Mask R-CNN (ResNet-50, FPN, random weights) on a batch.

  Args:
    command: "inference" or "train".
    images: [B, H, W, 3] uint8.
    boxes: [B, N, 4] ground truth, each with an area.
    labels: [B, N].
    categories: background included.
    dtype: "float32" or "bfloat16", by autocast.
    repeats: steps timed.

  Returns:
    `(seconds a step, peak bytes on the device or None)`.
  """
  height, width = images.shape[1:3]
  model = torchvision.models.detection.maskrcnn_resnet50_fpn(
      weights=None, weights_backbone=None, num_classes=categories,
      min_size=min(height, width), max_size=max(height, width), box_score_thresh=0.0).to(DEVICE)
  inputs = [_place(image).permute(2, 0, 1).float() / 255 for image in images]
  autocast = functools.partial(
      torch.autocast, DEVICE.type, torch.bfloat16, enabled=dtype == "bfloat16")
  if command == "train":
    step = _train_step(model.train(), inputs, _targets(images, boxes, labels), autocast)
  else:
    step = _predict_step(model.eval(), inputs, autocast)
  seconds = median_seconds(step, repeats=repeats, wait=_wait)
  return seconds, torch.cuda.max_memory_allocated() if _CUDA else None


def _targets(images, boxes, labels):
  """Boxes, and masks that fill them."""
  targets = []
  for image_boxes, image_labels in zip(boxes, labels, strict=True):
    masks = torch.zeros((len(image_boxes), *images.shape[1:3]), dtype=torch.uint8, device=DEVICE)
    for mask, (x1, y1, x2, y2) in zip(masks, image_boxes.astype(int), strict=True):
      mask[y1:y2, x1:x2] = 1
    targets.append({"boxes": _place(image_boxes), "labels": _place(image_labels).long(),
                    "masks": masks})
  return targets


def _predict_step(model, inputs, autocast):
  def step():
    with torch.no_grad(), autocast():
      return model(inputs)
  return step


def _train_step(model, inputs, targets, autocast):
  # The rate is 0 so that random weights do not run away from step to step.
  optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)
  def step():
    optimizer.zero_grad(set_to_none=True)
    with autocast():
      loss = sum(model(inputs, targets).values())
    loss.backward()
    optimizer.step()
  return step
