"""Images of textured shapes, drawn in numpy with their exact masks.

Shapes are inequalities at pixel centres, so that masks have no soft edge and do not depend on the
version of a graphics library. The same (split_seed, index) gives the same image.
"""

import colorsys
from typing import NamedTuple

import cv2
import numpy as np

IMAGE_SIDE = 128
CATEGORY_NAMES = ("disc", "square", "triangle", "star", "ring")
MAX_SHAPES = 5

# A change of this, or of anything below, makes another data set: raise `prepared.index.VERSION`.
_ROOT_SEED = 20160627
_RADII = (10.0, 26.0)  # Pixels.
_MIN_VISIBLE_FRACTION = 0.25
_MIN_VISIBLE_PIXELS = 60
_TRIES = 10  # Positions tried for a shape before it is dropped.


class Drawing(NamedTuple):
  """An image and its shapes.

  Attributes:
    image: [IMAGE_SIDE, IMAGE_SIDE, 3] uint8 RGB.
    masks: [n, IMAGE_SIDE, IMAGE_SIDE] bool, the visible pixels of each shape; disjoint.
    labels: [n] int32, 1 + the index in `CATEGORY_NAMES`.
  """
  image: np.ndarray
  masks: np.ndarray
  labels: np.ndarray


class _Frame(NamedTuple):
  """Coordinates of every pixel centre, relative to one shape."""
  u: np.ndarray  # Rotated and stretched, 1 at the shape's radius.
  v: np.ndarray
  radius: float


def draw_image(index: int, split_seed: int) -> Drawing:
  """Returns image number `index` of the split with seed `split_seed`, of 1 to 5 shapes."""
  rng = np.random.default_rng([_ROOT_SEED, split_seed, index])
  image = _draw_background(rng)
  masks = np.zeros((0, IMAGE_SIDE, IMAGE_SIDE), bool)
  labels = []
  for _ in range(rng.integers(1, MAX_SHAPES + 1)):
    placed = _place_shape(rng, masks)
    if placed is None:
      continue
    label, frame, mask = placed
    masks = np.concatenate([masks & ~mask, mask[None]])
    labels.append(label)
    image[mask] = _paint(rng, frame.u[mask], frame.v[mask], frame.radius)
  image += 5.0 * rng.standard_normal((IMAGE_SIDE, IMAGE_SIDE, 1), np.float32)
  np.rint(np.clip(image, 0.0, 255.0, out=image), out=image)
  return Drawing(image.astype(np.uint8), masks, np.array(labels, np.int32))


def _place_shape(rng, masks):
  """Returns (label, frame, mask) of a shape that leaves enough of all visible, or None."""
  areas = _count_pixels(masks)
  for _ in range(_TRIES):
    label = int(rng.integers(1, len(CATEGORY_NAMES) + 1))
    frame = _random_frame(rng)
    mask = _MEMBERSHIP[CATEGORY_NAMES[label - 1]](frame.u, frame.v)
    # Each shape may cover part of the visible rest of the earlier ones, but never most of it.
    left = _count_pixels(masks & ~mask)
    enough = (left >= _MIN_VISIBLE_PIXELS) & (left >= 0.5 * areas)
    needed = max(_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_FRACTION * np.pi * frame.radius ** 2)
    if enough.all() and np.count_nonzero(mask) >= needed:
      return label, frame, mask
  return None


def _count_pixels(masks):
  # Much faster than a sum over bool, and this is most of the work of placing a shape.
  return np.array([np.count_nonzero(mask) for mask in masks])


def _random_frame(rng) -> _Frame:
  radius = rng.uniform(*_RADII)
  center = rng.uniform(0.5 * radius, IMAGE_SIDE - 0.5 * radius, 2)
  angle, stretch = rng.uniform(0.0, 2 * np.pi), np.sqrt(rng.uniform(0.75, 1.33))
  u, v = _rotated(center, angle)
  return _Frame(u / (radius * stretch), v / (radius / stretch), radius)


def _rotated(center, angle):
  x = np.arange(IMAGE_SIDE)[None, :] + 0.5 - center[0]
  y = np.arange(IMAGE_SIDE)[:, None] + 0.5 - center[1]
  return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _in_disc(u, v):
  return u * u + v * v <= 1.0


def _in_ring(u, v):
  return _in_disc(u, v) & (u * u + v * v >= 0.55 ** 2)


def _in_square(u, v):
  return np.maximum(np.abs(u), np.abs(v)) <= 0.85


def _in_triangle(u, v):
  # Three half planes at distance .55 from the centre: corners at radius 1.1.
  slopes = [(np.cos(a), np.sin(a)) for a in (0.0, 2 * np.pi / 3, 4 * np.pi / 3)]
  return np.all([u * a + v * b <= 0.55 for a, b in slopes], axis=0)


def _in_star(u, v):
  # Of the five lines that make a pentagram, the middle is inside all, a tip inside four.
  # Lines at distance .386 from the centre give tips at radius .386 / cos(72 degrees) = 1.25.
  slopes = [(np.cos(a), np.sin(a)) for a in 2 * np.pi / 5 * np.arange(5)]
  return sum((u * a + v * b <= 0.386).astype(np.int8) for a, b in slopes) >= 4


_MEMBERSHIP = {"disc": _in_disc, "square": _in_square, "triangle": _in_triangle,
               "star": _in_star, "ring": _in_ring}


def _paint(rng, u, v, radius):
  """Returns [N, 3] float colours at N points: two, mixed by a texture, shaded to one side."""
  hue = rng.uniform()
  first = _rgb(hue, rng.uniform(0.65, 1.0), rng.uniform(0.75, 1.0))
  second = _rgb(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.3, 1.0), rng.uniform(0.3, 0.6))
  texture = _TEXTURES[rng.integers(len(_TEXTURES))]
  period = rng.uniform(5.0, 9.0) / radius
  weight = texture(u, v, period)[:, None]
  shade = np.clip(1.0 - 0.15 * (u + v), 0.7, 1.15)[:, None]
  return (first * (1 - weight) + second * weight) * shade


def _rgb(hue, saturation, value):
  return 255.0 * np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def _plain(u, v, period):
  return np.zeros_like(u)


def _stripes(u, v, period):
  return (u % period < 0.5 * period).astype(float)


def _checker(u, v, period):
  return ((u % (2 * period) < period) ^ (v % (2 * period) < period)).astype(float)


def _dots(u, v, period):
  du, dv = u % period - 0.5 * period, v % period - 0.5 * period
  return (du * du + dv * dv < (0.3 * period) ** 2).astype(float)


def _gradient(u, v, period):
  return np.clip(0.5 * (1.0 + u), 0.0, 1.0)


_TEXTURES = (_plain, _stripes, _checker, _dots, _gradient)


def _draw_background(rng):
  """Returns [H, W, 3] float: smooth muted colour, thin lines and specks."""
  image = _smooth_noise(rng, cells=4, low=70.0, high=185.0)
  image = 0.6 * image + 0.4 * image.mean(axis=2, keepdims=True)
  for _ in range(rng.integers(3, 9)):
    ends = rng.integers(0, IMAGE_SIDE, 4).tolist()
    cv2.line(image, ends[:2], ends[2:], _muted(rng), int(rng.integers(1, 3)))
  for _ in range(rng.integers(4, 12)):
    center = rng.integers(0, IMAGE_SIDE, 2).tolist()
    cv2.circle(image, center, int(rng.integers(1, 4)), _muted(rng), -1)
  return image


def _muted(rng):
  return _rgb(rng.uniform(), rng.uniform(0.0, 0.45), rng.uniform(0.25, 0.85)).tolist()


def _smooth_noise(rng, cells, low, high):
  knots = rng.uniform(low, high, (cells + 1, cells + 1, 3))
  at = (np.arange(IMAGE_SIDE) + 0.5) * cells / IMAGE_SIDE
  weights = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(cells + 1)))
  return np.ascontiguousarray(
      np.einsum("ya,xb,abk->yxk", weights, weights, knots, optimize=True))
