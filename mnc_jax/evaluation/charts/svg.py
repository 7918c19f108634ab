"""SVG elements, axes and lines; the style is that of `templates/chart.css`."""

from collections.abc import Iterable, Sequence
import math
from typing import NamedTuple
import xml.etree.ElementTree as ET

# Of lines and their legends: after the palette of Okabe and Ito, as dark as text on white needs.
COLORS = ("#0b5fa5", "#b34700", "#00785a", "#9b3d7f", "#6b6300", "#5a4fb0", "#a3243b", "#3f4a54")


class Axis(NamedTuple):
  """Maps values to pixels.

  Attributes:
    low: value at the pixel `start`.
    high: value at the pixel `end`; above `low`.
    start: pixel.
    end: pixel.
    ticks: values that are marked.
  """
  low: float
  high: float
  start: float
  end: float
  ticks: Sequence[float]

  def place(self, value: float) -> float:
    """Returns the pixel of a value."""
    return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def new_chart(width: float, height: float, label: str) -> ET.Element:
  """Returns an empty chart of a size in pixels; `label` describes it to screen readers."""
  return ET.Element("svg", {
      "class": "plot", "viewBox": f"0 0 {show(width)} {show(height)}", "width": show(width),
      "height": show(height), "role": "img", "aria-label": label})


def add(parent: ET.Element, tag: str, *, text: str = "", tip: str = "",
        **attributes: object) -> ET.Element:
  """Adds an element to `parent` and returns it.

  Args:
    parent: of the new element.
    tag: such as "rect".
    text: in the element; "" for none.
    tip: shown when the mouse is over it.
    **attributes: numbers are rounded to hundredths; `class_` and `stroke_width` are class and
      stroke-width.
  """
  named = {name.rstrip("_").replace("_", "-"):
           show(value) if isinstance(value, float) else str(value)
           for name, value in attributes.items()}
  element = ET.SubElement(parent, tag, named)
  if tip:
    title = ET.SubElement(element, "title")
    title.text, title.tail = tip, text
  else:
    element.text = text
  return element


def show(number: float) -> str:
  """Returns a number of pixels as short text, rounded to hundredths."""
  return f"{number:.2f}".rstrip("0").rstrip(".")


def as_markup(svg: ET.Element) -> str:
  """Returns the chart as text, in which all names are escaped."""
  return ET.tostring(svg, encoding="unicode")


def round_ticks(low: float, high: float, *, most: int = 6) -> list[float]:
  """Returns at most about `most` round values from `low` to `high`, at equal distances.

  Args:
    low: finite.
    high: finite, at least `low`.
    most: of them.
  """
  if not high > low:
    return [low]
  rough = (high - low) / most
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [number * step for number in range(first, last + 1)]


def draw_axes(svg: ET.Element, x: Axis, y: Axis, *, x_title: str = "", y_title: str = "") -> None:
  """Draws a grid at the ticks, their values, and titles below and above."""
  for value in y.ticks:
    add(svg, "line", class_="grid", x1=x.start, x2=x.end, y1=y.place(value), y2=y.place(value))
    add(svg, "text", class_="tick", x=x.start - 6, y=y.place(value) + 4, text_anchor="end",
        text=f"{value:.6g}")
  for value in x.ticks:
    add(svg, "line", class_="grid", x1=x.place(value), x2=x.place(value), y1=y.start, y2=y.end)
    add(svg, "text", class_="tick", x=x.place(value), y=y.start + 16, text_anchor="middle",
        text=f"{value:.6g}")
  add(svg, "path", class_="axis", d=f"M{show(x.start)} {show(y.end)}V{show(y.start)}H{show(x.end)}")
  if x_title:
    add(svg, "text", class_="title", x=x.end, y=y.start + 34, text_anchor="end", text=x_title)
  if y_title:
    add(svg, "text", class_="title", x=max(x.start - 34, 0.0), y=y.end - 10, text=y_title)


def draw_line(svg: ET.Element, x: Axis, y: Axis, points: Iterable[tuple[float, float]], *,
              color: str, tip: str = "", dashes: str = "") -> None:
  """Draws a line through (value of x, value of y); nothing without points.

  Args:
    svg: the chart.
    x: axis.
    y: axis.
    points: in the order of the line.
    color: of the line.
    tip: shown when the mouse is over it.
    dashes: pixels of dashes and gaps, as "4 4"; "" for none.
  """
  pixels = [f"{show(x.place(a))} {show(y.place(b))}" for a, b in points]
  if pixels:
    add(svg, "path", class_="line", d="M" + "L".join(pixels), stroke=color, tip=tip,
        **({"stroke-dasharray": dashes} if dashes else {}))
