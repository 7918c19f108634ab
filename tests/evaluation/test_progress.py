"""What progress bars show while a program compiles."""

import time

import pytest

from mnc_jax.evaluation import progress


class Bar:
  """Records what a tqdm bar would show."""

  def __init__(self):
    self.texts = []

  def set_postfix_str(self, text, *, refresh=True):
    self.texts.append(text)


@pytest.mark.parametrize(("first", "seconds", "texts"), [
    (True, 0.3, ["compiling, about a minute", ""]), (True, 0.0, [""]), (False, 0.1, [])])
def test_only_a_first_call_that_takes_long_is_shown_as_compiling(
    monkeypatch, first, seconds, texts):
  monkeypatch.setattr(progress, "_DELAY", 0.05)
  bar = Bar()
  with progress.compiling(bar, first=first):
    time.sleep(seconds)
  assert bar.texts == texts


def test_after_an_error_nothing_is_written_on_the_bar(monkeypatch):
  monkeypatch.setattr(progress, "_DELAY", 0.01)
  bar = Bar()
  with pytest.raises(ValueError, match="x"), progress.compiling(bar, first=True):
    raise ValueError("x")
  time.sleep(0.05)
  assert bar.texts == [""]
