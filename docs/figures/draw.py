"""Draws the figures of the pages as SVG files beside this script, by the library itself.

Needs matplotlib, of the extra `docs`: python docs/figures/draw.py
"""

import pathlib

import jax
import jax.numpy as jnp
import matplotlib as mpl
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
import matplotlib.pyplot as plt
import numpy as np

import mnc_jax

FOLDER = pathlib.Path(__file__).parent
BLUE, ORANGE, GREEN, RED, GREY = "#1f6fb4", "#e07b00", "#2b8a3e", "#c92a2a", "#868e96"
# The same bytes whenever nothing has changed.
mpl.rcParams.update({"svg.hashsalt": "mnc_jax", "font.size": 10, "figure.dpi": 100,
                     "axes.spines.top": False, "axes.spines.right": False})


def save(figure, name: str) -> None:
  """Writes a figure as NAME.svg."""
  figure.savefig(FOLDER / f"{name}.svg", bbox_inches="tight", facecolor="white",
                 metadata={"Date": None})
  plt.close(figure)


def add_box(axes, x, y, width, height, text, color) -> None:
  """Draws a rounded box with text at its centre."""
  axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=.12",
                                facecolor=f"{color}22", edgecolor=color, linewidth=1.4))
  axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", linespacing=1.4)


def add_arrow(axes, start, end, color="black", style="-", bend=0.0) -> None:
  """Draws an arrow between two points."""
  axes.add_patch(FancyArrowPatch(
      start, end, arrowstyle="-|>", mutation_scale=12, color=color, linestyle=style, linewidth=1.4,
      shrinkA=2, shrinkB=2, connectionstyle=f"arc3,rad={bend}"))


def draw_cascade() -> None:
  """The five stages, what passes between them, and where gradients return."""
  figure, axes = plt.subplots(figsize=(10, 4))
  axes.set(xlim=(-0.1, 15.4), ylim=(-1.7, 4.2))
  axes.axis("off")
  add_box(axes, 0, 1, 1.4, 1, "image", GREY)
  add_box(axes, 2, 1, 1.9, 1, "backbone:\nfeatures $F$", GREY)
  stages = (("1", "boxes $B$", BLUE), ("2", "masks $M$", ORANGE), ("3", "categories", GREEN),
            ("4", "masks", ORANGE), ("5", "categories", GREEN))
  starts = (4.5, 6.7, 8.9, 11.1, 13.3)
  for start, (number, text, color) in zip(starts, stages, strict=True):
    middle = start + 0.9
    add_box(axes, start, 1, 1.8, 1, f"stage {number}\n{text}", color)
    add_arrow(axes, (middle, 1), (middle, 0.35), color)
    axes.text(middle, 0.1, f"$L_{number}$", ha="center", va="center", color=color, fontsize=12)
    add_arrow(axes, (start - (0.6 if number == "1" else 0.4), 1.5), (start, 1.5))
    if number != "1":
      add_arrow(axes, (2.95, 2), (middle, 2), GREY, bend=-0.17)
      axes.plot((middle, middle), (-0.2, -0.8), color=RED, linestyle="--", linewidth=1.4)
  add_arrow(axes, (1.4, 1.5), (2, 1.5))
  axes.plot((5.0, 14.2), (-0.8, -0.8), color=RED, linestyle="--", linewidth=1.4)
  add_arrow(axes, (5.0, -0.8), (5.0, 1), RED, "--")
  axes.text(10.9, 0.62, "bridge", ha="center", fontsize=9)
  axes.text(9.6, -1.3, r"$L_2 \ldots L_5$ train the box coordinates of stage 1", ha="center",
            color=RED)
  axes.text(8.6, 3.55, "RoI warp: stages 2 to 5 read the same features inside their boxes",
            ha="center", color=GREY)
  save(figure, "cascade")


def draw_data_flow() -> None:
  """From files to results, with the package or module that does each step."""
  figure, axes = plt.subplots(figsize=(10, 2.9))
  axes.set(xlim=(-0.1, 15.6), ylim=(-0.2, 4.2))
  axes.axis("off")
  rows = ((2.6, ((0, "image files,\nannotations", GREY), (4.0, "records", GREY),
                 (8.0, "Batch", GREY), (12.0, "features", BLUE))),
          (0.2, ((0, "COCO results,\nscores, report", GREY), (4.0, "Instances", GREEN),
                 (8.0, "stage outputs", ORANGE), (12.0, "proposals", BLUE))))
  for y, boxes in rows:
    for x, text, color in boxes:
      add_box(axes, x, y, 2.2, 1.1, text, color)
  for x, text in ((2.2, "data/readers,\nprepared"), (6.2, "data/pipeline"),
                  (10.2, "model/\nbackbones")):
    _add_step(axes, (x, 3.15), (x + 1.8, 3.15), text)
  for x, text in ((6.2, "ops/voting"), (2.2, "evaluation"), (10.2, "model/\ncascade")):
    _add_step(axes, (x + 1.8, 0.75), (x, 0.75), text)
  add_arrow(axes, (13.1, 2.6), (13.1, 1.3))
  axes.text(13.25, 1.95, "model/stages/box_stage", va="center", fontsize=8)
  add_arrow(axes, (9.1, 1.3), (9.1, 2.0))
  axes.text(9.1, 2.2, "training: targets, losses", ha="center", va="center", color=RED)
  save(figure, "data_flow")


def _add_step(axes, start, end, text):
  add_arrow(axes, start, end)
  axes.text((start[0] + end[0]) / 2, start[1] + 0.12, text, ha="center", va="bottom", fontsize=8)


def sample_positions(low, high, size, grid, stride) -> np.ndarray:
  """Returns the positions in cells that `roi_warp` reads, as read from a ramp."""
  ramp = jnp.broadcast_to(jnp.arange(16.0)[None, :, None], (16, 16, 1))
  box = jnp.array([[low, low, high, high]], jnp.float32)
  return np.asarray(mnc_jax.roi_warp(ramp, box, size=size, stride=stride, grid=grid)[0, 0, :, 0])


def draw_grids() -> None:
  """Where each of the three grids samples a box, and the kernel."""
  figure, all_axes = plt.subplots(1, 4, figsize=(10.2, 2.9), width_ratios=(1, 1, 1, 1.1))
  low, high, stride, size = 27.0, 107.0, 16, 4
  for axes, grid, color in zip(all_axes, ("center", "edge", "caffe"), (GREEN, ORANGE, RED),
                               strict=False):
    positions = sample_positions(low, high, size, grid, stride)
    axes.hlines(np.arange(9) - 0.5, -0.5, 7.5, GREY, linewidth=0.5)
    axes.vlines(np.arange(9) - 0.5, -0.5, 7.5, GREY, linewidth=0.5)
    corner, side = low / stride - 0.5, (high - low) / stride
    axes.add_patch(Rectangle((corner, corner), side, side, fill=False, edgecolor=BLUE, linewidth=2))
    x, y = np.meshgrid(positions, positions)
    axes.scatter(x, y, color=color, s=22, zorder=3)
    axes.set(title=grid, xlim=(-0.6, 7.6), ylim=(7.6, -0.6), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
      spine.set_visible(False)
  axes = all_axes[3]
  z = np.linspace(-2, 2, 401)
  axes.plot(z, np.maximum(0, 1 - np.abs(z)), color=BLUE, linewidth=2)
  axes.set(title=r"kernel $\kappa(z)$", xlabel="cells", ylim=(-0.05, 1.1), yticks=[0, 1])
  figure.tight_layout()
  save(figure, "roi_warp")


def draw_gradient() -> None:
  """A warped value and its gradient as the left side of the box moves."""
  key = jax.random.key(3)
  features = jax.random.normal(key, (12, 12, 1))

  def value(x1):
    box = jnp.array([[x1, 20.0, 84.0, 84.0]])
    return mnc_jax.roi_warp(features, box, size=2, stride=8)[0, 0, 0, 0]

  corners = jnp.linspace(8.0, 60.0, 521)
  values, slopes = jax.vmap(jax.value_and_grad(value))(corners)
  figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.6, 4.2), sharex=True)
  top.plot(corners, values, color=BLUE, linewidth=2)
  top.set(ylabel="warped value")
  bottom.plot(corners, slopes, color=RED, linewidth=2, label="jax.grad")
  step = 0.05
  differences = [(value(x + step) - value(x - step)) / (2 * step) for x in corners[::20]]
  bottom.plot(corners[::20], differences, "o", color="black", markersize=4, fillstyle="none",
              label="central differences")
  bottom.set(xlabel="$x_1$ of the box, in pixels", ylabel=r"d value / d $x_1$")
  bottom.legend(frameon=False)
  # The sample is at (x1 + (84 - x1) / 4) / 8 - .5 cells.
  for cell in range(3, 8):
    corner = ((cell + 0.5) * 8 - 21) * 4 / 3
    if 8 < corner < 60:
      top.axvline(corner, color=GREY, linewidth=0.7, linestyle=":")
      bottom.axvline(corner, color=GREY, linewidth=0.7, linestyle=":")
  figure.tight_layout()
  save(figure, "gradient")


def ellipse(size, center, radii) -> jnp.ndarray:
  """Returns a soft ellipse on a grid of the unit square."""
  y, x = np.mgrid[0:size, 0:size] / size + 0.5 / size
  distance = np.hypot((x - center[0]) / radii[0], (y - center[1]) / radii[1])
  return jnp.asarray(1 / (1 + np.exp((distance - 1) * 12)), jnp.float32)


def draw_voting() -> None:
  """Four candidates of one object, one of another, and what the vote makes of them."""
  masks = jnp.stack([ellipse(28, center, radii) for center, radii in (
      ((0.5, 0.5), (0.45, 0.45)), ((0.42, 0.5), (0.4, 0.48)), ((0.55, 0.45), (0.38, 0.42)),
      ((0.5, 0.55), (0.48, 0.3)), ((0.5, 0.5), (0.42, 0.42)))])
  boxes = jnp.array([[20., 18, 78, 80], [14, 20, 74, 84], [24, 12, 84, 76], [18, 24, 80, 78],
                     [92, 30, 124, 70]])
  scores = jnp.array([0.9, 0.7, 0.6, 0.4, 0.8])
  found = mnc_jax.vote_masks(
      masks, boxes, jnp.stack([1 - scores, scores], axis=1), nms_iou=0.3, similar_iou=0.5,
      max_instances=2, height=96, width=136, mask_threshold=0.4)
  drawn = mnc_jax.paste_masks(masks, boxes, 96, 136)
  voted = mnc_jax.paste_masks(found.masks, found.paste_boxes, 96, 136)
  figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.2, 2.9))
  colors = (BLUE, ORANGE, GREEN, RED, GREY)
  for box, mask, color in zip(boxes, drawn, colors, strict=True):
    left.contour(mask, [0.5], colors=color, linewidths=1.6)
    _add_rectangle(left, box, color, "--")
  for index, (score, color) in enumerate(zip(scores, colors, strict=True)):
    left.text(8 + 14 * index, 93, f"{score:.1f}", color=color, fontsize=10)
  middle.imshow(voted.max(axis=0), cmap="Greys", vmin=0, vmax=1)
  right.imshow(voted.max(axis=0) > 0.4, cmap="Blues", vmin=0, vmax=1.6)
  for box, score in zip(found.boxes, found.scores, strict=True):
    _add_rectangle(right, box, BLUE, "-")
    right.text(float(box[0]) + 1, float(box[1]) - 2, f"{score:.1f}", color=BLUE, fontsize=9)
  for axes, title in ((left, "5 candidates and their scores"), (middle, "averages of similar ones"),
                      (right, "2 instances: above .4")):
    axes.set(title=title, xlim=(0, 136), ylim=(96, 0), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
      spine.set(visible=True, color=GREY)
  figure.tight_layout()
  save(figure, "voting")


def _add_rectangle(axes, box, color, style):
  x1, y1, x2, y2 = map(float, box)
  axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color,
                           linestyle=style, linewidth=0.9))


if __name__ == "__main__":
  for draw in (draw_cascade, draw_data_flow, draw_grids, draw_gradient, draw_voting):
    draw()
