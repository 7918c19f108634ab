"""Opens pages in a headless browser that record what they show."""

import html
import json
import re
import shutil
import subprocess

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
           "--disable-background-networking", "--disable-component-update",
           "--enable-logging=stderr", "--virtual-time-budget=10000")


def find_browser():
  """Returns the path of a browser; skips the test if there is none."""
  found = next(filter(None, map(shutil.which, _NAMES)), None)
  if found is None:
    pytest.skip(f"no headless browser: none of {', '.join(_NAMES)} is installed")
  return found


def open_page(browser, page, profile, *options):
  """Returns what a page wrote as JSON into `<pre id="found">`, and the log of the browser."""
  done = subprocess.run(
      [browser, *OPTIONS, *options, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
      capture_output=True, text=True, timeout=120)
  found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
  assert found, done.stderr
  return json.loads(html.unescape(found[1])), done.stderr
