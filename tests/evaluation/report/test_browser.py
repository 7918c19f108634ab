import re
import subprocess

import pytest

from helpers import report_sets as sets
from helpers.browser import OPTIONS, find_browser, open_page
from mnc_jax.evaluation.report import write_report

# Errors are collected before the page's own script runs.
_LISTEN = """<script>
var faults = [];
addEventListener("error", event => faults.push(String(event.message || event.target.src)), true);
for (const level of ["error", "warn"]) console[level] = text => faults.push(String(text));
</script>"""

# Does what a visitor would do, and records what the page then shows.
_VISIT = """<script>
addEventListener("load", async () => {
  const all = query => [...document.querySelectorAll(query)];
  const visible = () => all(".card").filter(card => card.offsetHeight > 0).map(card => card.id);
  const lit = () => all("tr[data-kind]:not(.other)").filter(row => row.offsetHeight).length;
  const click = query => document.querySelector(query).click();
  const choose = value => {
    const select = document.querySelector("select");
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };
  const found = {cards: visible(), lit: lit(), tall: document.body.scrollHeight};
  for (const image of all("img")) image.loading = "eager";
  await Promise.all(all("img").map(image => image.complete || new Promise(done => {
    image.onload = image.onerror = done;
  })));
  found.widths = all("img").map(image => image.naturalWidth);
  found.overflow = document.documentElement.scrollWidth - innerWidth;
  found.bars = all(".kinds .bar").map(bar => bar.offsetWidth / bar.parentNode.offsetWidth);
  const [first, second] = all(".card:first-of-type img").map(img => img.getBoundingClientRect());
  found.side_by_side = first.top === second.top && first.right < second.left;
  click('button[data-kind="missed"]');
  found.missed = [visible(), lit(), document.querySelector("output").textContent];
  choose("2");
  found.missed_dogs = [visible(), lit()];
  click('a[href="#card-4"]');
  found.after_link = [visible().length, location.hash];
  choose("2");
  click('a[data-show="duplicate"]');
  found.duplicates = visible();
  click('a[data-category="2"]');
  found.dogs = visible();
  click('button[data-kind=""]');
  choose("");
  found.all = visible().length;
  found.faults = faults;
  const note = document.createElement("pre");
  note.id = "found";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
});
</script>"""


@pytest.fixture(scope="module")
def browser():
  return find_browser()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  folder = tmp_path_factory.mktemp("report")
  return write_report(folder, *sets.make_set(), sets.read_image, title="Toys")


def visit(browser, page, profile, *, width=1280):
  """Opens a copy of the page that visits itself; returns what it recorded, and the log."""
  copy = page.with_name("visit.html")
  text = page.read_text().replace("<head>", f"<head>{_LISTEN}")
  copy.write_text(text.replace("</body>", f"{_VISIT}</body>"))
  return open_page(browser, copy, profile, f"--window-size={width},900")


@pytest.fixture(scope="module")
def visited(browser, page, tmp_path_factory):
  return visit(browser, page, tmp_path_factory.mktemp("profile"))


def test_the_page_opens_from_the_disk_without_errors(visited):
  found, log = visited
  assert found["faults"] == []
  assert "CONSOLE" not in log
  assert found["cards"] == [f"card-{rank}" for rank in range(1, 6)]
  assert found["lit"] == 9


def test_every_picture_loads(visited):
  found, _ = visited
  assert found["widths"] == [560] * 10


def test_pictures_are_side_by_side_and_bars_in_proportion(visited):
  found, _ = visited
  assert found["overflow"] <= 0
  assert found["side_by_side"]
  # One of each kind of false positive but two of background, and four missed.
  fifth = found["bars"][4]
  assert [bar / fifth for bar in found["bars"]] == pytest.approx(
      [0.25, 0.25, 0.25, 0.5, 1], abs=0.02)


def test_filters_show_the_images_with_such_errors(visited):
  found, _ = visited
  assert found["missed"] == [["card-1", "card-2"], 4, "2 of 5 images"]
  assert found["missed_dogs"] == [["card-1", "card-2"], 2]
  assert found["duplicates"] == ["card-3"]
  assert found["dogs"] == ["card-1", "card-2", "card-4"]
  assert found["all"] == 5


def test_a_link_shows_an_image_that_a_filter_hid(visited):
  found, _ = visited
  assert found["after_link"] == [5, "#card-4"]


def test_on_a_narrow_screen_pictures_are_below_each_other(browser, page, tmp_path):
  # Narrower windows are not made; 500 pixels are below the point where the layout changes.
  found, _ = visit(browser, page, tmp_path, width=500)
  assert found["overflow"] <= 0
  assert not found["side_by_side"]


def test_without_javascript_everything_is_there(browser, page, tmp_path):
  copy = page.with_name("plain.html")
  copy.write_text(re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL))
  done = subprocess.run(
      [browser, *OPTIONS, f"--user-data-dir={tmp_path}", "--dump-dom", copy.as_uri()],
      capture_output=True, text=True, timeout=120)
  assert done.stdout.count('<article class="card"') == 5
  # The filters, which would do nothing, stay hidden; nothing else is.
  assert re.findall(r"<(\w+)[^>]* hidden", done.stdout) == ["form"]
