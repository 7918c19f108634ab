import xml.etree.ElementTree as ET

import pytest

from mnc_jax.evaluation.charts import svg


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 700, [0, 200, 400, 600]), (0.3, 1.9, [0.5, 1, 1.5]),
    (1e-4, 5e-4, [1e-4, 2e-4, 3e-4, 4e-4, 5e-4]), (3, 3, [3]), (-1, 1, [-1, -0.5, 0, 0.5, 1])])
def test_ticks_are_round(low, high, ticks):
  assert svg.round_ticks(low, high) == pytest.approx(ticks)


def test_an_axis_maps_values_to_pixels():
  axis = svg.Axis(10, 20, 200, 100, ())
  assert [axis.place(value) for value in (10, 15, 20)] == [200, 150, 100]


def test_a_line_goes_through_its_points():
  chart = svg.new_chart(100, 50.5, "a & b")
  x, y = svg.Axis(0, 2, 0, 100, ()), svg.Axis(0, 1, 50, 0, ())
  svg.draw_line(chart, x, y, [(0, 0), (1, 0.5), (2, 1)], color="red", tip="<tip>")
  svg.draw_line(chart, x, y, [], color="blue")
  text = svg.as_markup(chart)
  (line,) = ET.fromstring(text)
  assert (line.attrib["d"], line.attrib["stroke"]) == ("M0 50L50 25L100 0", "red")
  assert line[0].text == "<tip>"
  assert 'viewBox="0 0 100 50.5"' in text
  assert "a &amp; b" in text and "&lt;tip&gt;" in text


def test_text_stands_beside_its_tip():
  chart = svg.new_chart(10, 10, "")
  svg.add(chart, "text", text="short…", tip="short name", class_="name", x=1.25, text_anchor="end")
  assert svg.as_markup(chart).endswith(
      '<text class="name" x="1.25" text-anchor="end"><title>short name</title>short…</text></svg>')
