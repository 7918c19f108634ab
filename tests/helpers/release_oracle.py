"""The layers of the authors' release at test time, in plain numpy and in its own conventions.

Maps are [K, h, w] and weights [out, in, ...], boxes inclusive corners in pixels of the network
input. One image, no padding, no batch. Written from models/VGG16/mnc_5stage/test.prototxt,
lib/pylayer/ and lib/transform/ of github.com/daijifeng001/MNC and from the layers ROIWarping,
MaskResize and MaskPooling of its Caffe; nothing here is mnc_jax's.
"""

import numpy as np

STRIDE = 16
BLOCKS = (("conv1_1", "conv1_2"), ("conv2_1", "conv2_2"), ("conv3_1", "conv3_2", "conv3_3"),
          ("conv4_1", "conv4_2", "conv4_3"), ("conv5_1", "conv5_2", "conv5_3"))
MEAN_BGR = (102.9801, 115.9465, 122.7717)


def convolve(x, layer):
  weights, bias = layer
  margin = weights.shape[-1] // 2
  x = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
  windows = np.lib.stride_tricks.sliding_window_view(x, weights.shape[2:], axis=(1, 2))
  return np.tensordot(weights, windows, ((1, 2, 3), (0, 3, 4))) + bias[:, None, None]


def max_pool(x):
  """2 x 2 over the last two axes; sizes round up, the last window is then cut."""
  margins = [(0, 0)] * (x.ndim - 2) + [(0, side % 2) for side in x.shape[-2:]]
  x = np.pad(x, margins, constant_values=-np.inf)
  return np.maximum(np.maximum(x[..., ::2, ::2], x[..., 1::2, ::2]),
                    np.maximum(x[..., ::2, 1::2], x[..., 1::2, 1::2]))


def relu(x):
  return np.maximum(x, 0)


def dense(x, layer):
  weights, bias = layer
  return x.reshape(len(x), -1) @ weights.T + bias


def softmax(x, axis):
  x = np.exp(x - x.max(axis=axis, keepdims=True))
  return x / x.sum(axis=axis, keepdims=True)


def shared_features(layers, image_rgb):
  """[H, W, 3] uint8 to conv5_3 [512, h, w]."""
  x = (image_rgb[..., ::-1].astype(np.float32) - np.float32(MEAN_BGR)).transpose(2, 0, 1)
  for number, block in enumerate(BLOCKS):
    x = max_pool(x) if number else x
    for name in block:
      x = relu(convolve(x, layers[name]))
  return x


def score_boxes(layers, features):
  """Returns probabilities [2 A, h, w], all of background first, and deltas [4 A, h, w]."""
  x = relu(convolve(features, layers["rpn_conv_3x3"]))
  scores = convolve(x, layers["rpn_cls_score"])
  # Reshaped to two channels, so that the softmax pairs channel a with channel A + a.
  pairs = scores.reshape(2, -1, scores.shape[2])
  return softmax(pairs, 0).reshape(scores.shape), convolve(x, layers["rpn_bbox_pred"])


def base_anchors():
  """The nine windows around the cell [0, 0, 15, 15], inclusive: ratios outside, scales inside."""
  anchors = []
  for ratio in (0.5, 1, 2):
    width = np.round(np.sqrt(16 * 16 / ratio))
    height = np.round(width * ratio)
    for scale in (8, 16, 32):
      half = 0.5 * (np.array([width, height]) * scale - 1)
      anchors.append(np.concatenate([7.5 - half, 7.5 + half]))
  return np.array(anchors)


def move_boxes(boxes, deltas):
  """Widths count both corners; the result's far corner is w / 2 from the centre."""
  sizes = boxes[:, 2:] - boxes[:, :2] + 1
  centers = boxes[:, :2] + 0.5 * sizes + deltas[:, :2] * sizes
  sizes = sizes * np.exp(deltas[:, 2:])
  return np.concatenate([centers - 0.5 * sizes, centers + 0.5 * sizes], axis=1)


def clip(boxes, height, width):
  limits = np.array([width, height, width, height]) - 1
  return np.maximum(np.minimum(boxes, limits), 0)


def suppress(boxes, scores, threshold):
  areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
  kept = []
  for i in np.argsort(-scores, kind="stable"):
    def overlap(j, i=i):
      sides = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2]) + 1
      inter = np.prod(np.maximum(sides, 0))
      return inter / (areas[i] + areas[j] - inter)
    if all(overlap(j) <= threshold for j in kept):
      kept.append(i)
  return kept


def propose(probabilities, deltas, height, width, *, min_size, pre_nms, post_nms, threshold):
  """Returns inclusive boxes [R, 4] and scores [R], best first."""
  anchors_per_cell, rows, columns = (len(deltas) // 4, *deltas.shape[1:])
  shifts = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) * STRIDE
  anchors = np.tile(shifts, 2)[:, :, None] + base_anchors()
  by_anchor = lambda x, size: x.reshape(anchors_per_cell, size, rows, columns).transpose(2, 3, 0, 1)
  boxes = move_boxes(anchors.reshape(-1, 4), by_anchor(deltas, 4).reshape(-1, 4))
  boxes = clip(boxes, height, width)
  scores = by_anchor(probabilities[anchors_per_cell:], 1).reshape(-1)
  large = np.all(boxes[:, 2:] - boxes[:, :2] + 1 >= min_size, axis=1)
  boxes, scores = boxes[large], scores[large]
  best = np.argsort(-scores, kind="stable")[:pre_nms]
  boxes, scores = boxes[best], scores[best]
  kept = suppress(boxes, scores, threshold)[:post_nms]
  return boxes[kept], scores[kept]


def interpolate(x, row, column):
  """[K, h, w] at one position: 0 beyond half a cell outside, else clamped to the border."""
  height, width = x.shape[1:]
  if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
    return np.zeros(len(x))
  row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
  top, left = int(row), int(column)
  bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
  down, over = row - top, column - left
  return ((1 - down) * ((1 - over) * x[:, top, left] + over * x[:, top, right])
          + down * ((1 - over) * x[:, bottom, left] + over * x[:, bottom, right]))


def warp(features, rois, size):
  """[R, K, size, size]: corners rounded to cells, samples from the first corner on."""
  rounded = np.floor(rois / STRIDE + 0.5)  # Half away from zero; no corner is negative.
  return np.array([[[interpolate(features, y1 + i * max(y2 - y1, 0) / size,
                                 x1 + j * max(x2 - x1, 0) / size) for j in range(size)]
                    for i in range(size)] for x1, y1, x2, y2 in rounded]).transpose(0, 3, 1, 2)


def estimate_masks(layers, roi_features):
  hidden = relu(dense(roi_features, layers["fc6_maskest"]))
  logits = dense(hidden, layers["mask_pred"])
  side = int(np.sqrt(logits.shape[1]))
  return 1 / (1 + np.exp(-logits.reshape(-1, side, side)))


def resize_masks(masks, size):
  step = masks.shape[1] / size
  return np.array([[interpolate(masks, i * step, j * step) for j in range(size)]
                   for i in range(size)]).transpose(2, 0, 1)


def classify(layers, roi_features, masks):
  """Returns mask-level and box-level probabilities [R, C] and box deltas [R, 4 C]."""
  def path(x, suffix):
    hidden = relu(dense(max_pool(x), layers[f"fc6{suffix}"]))
    return relu(dense(hidden, layers[f"fc7{suffix}"]))
  masked = roi_features * resize_masks(masks, roi_features.shape[-1])[:, None]
  joined = np.concatenate([path(masked, "_mask"), path(roi_features, "")], axis=1)
  return (softmax(dense(joined, layers["seg_cls_score"]), 1),
          softmax(dense(joined, layers["cls_score"]), 1), dense(joined, layers["bbox_pred"]))


def bridge(rois, deltas, probabilities, height, width):
  """Moves each RoI by the deltas of its most probable category, background included."""
  best = probabilities.argmax(axis=1)
  chosen = np.array([row[4 * c:4 * c + 4] for row, c in zip(deltas, best, strict=True)])
  return clip(move_boxes(rois, chosen), height, width)


def run_heads(layers, features, rois, *, pooled):
  """Stages 2 and 3 (pooled) or 4 and 5 (not): masks, categories, box categories, deltas."""
  roi_features = max_pool(warp(features, rois, 28)) if pooled else warp(features, rois, 14)
  masks = estimate_masks(layers, roi_features)
  return (masks, *classify(layers, roi_features, masks))
