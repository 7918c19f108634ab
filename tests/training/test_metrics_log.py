"""The log of a run: what was written is read back, and a full disk stops nothing."""

import contextlib
import json
import resource

from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from helpers.event_files import read_events, read_metrics, read_scalars
from mnc_jax.training import log_files
from mnc_jax.training.metrics_log import MetricsLog


def test_numbers_and_pictures_are_read_back_from_both_files(tmp_path):
  with MetricsLog(tmp_path, first_step=7) as log:
    log.add_scalars({"train/loss": np.float32(1.1), "train/rate": 0.25}, 7)
    log.add_scalars({"train/loss": 1.25}, 8)
    log.add_image("picture", np.full((4, 6, 3), 200, np.uint8), 8)
  assert read_metrics(tmp_path) == [
      {"step": 7, "train/loss": float(np.float32(1.1)), "train/rate": 0.25},
      {"step": 8, "train/loss": 1.25}]
  assert read_scalars(tmp_path / "logs") == {
      "train/loss": {7: [np.float32(1.1)], 8: [1.25]}, "train/rate": {7: [0.25]}}
  events = [event for path in (tmp_path / "logs").iterdir() for event in read_events(path)]
  assert events[0].file_version == "brain.Event:2"
  # From this step on, TensorBoard drops what older files have.
  assert events[1].session_log.status == event_pb2.SessionLog.SessionStatus.START
  assert events[1].step == 7
  picture = events[-1].summary.value[0]
  assert (picture.tag, picture.image.height, picture.image.width) == ("picture", 4, 6)


def test_values_that_are_not_finite_are_null(tmp_path):
  with MetricsLog(tmp_path, first_step=1) as log:
    log.add_scalars({"a": np.float32("nan"), "b": float("-inf"), "c": 3}, 1)
  def reject(name):
    raise AssertionError(f"{name} is no JSON")
  line = (tmp_path / "metrics.jsonl").read_text()
  assert json.loads(line, parse_constant=reject) == {"step": 1, "a": None, "b": None, "c": 3.0}


class HttpError(Exception):
  """What gcsfs raises is no OSError."""


@pytest.fixture
def bucket(monkeypatch):
  """A store of objects in which nothing can be appended, with the paths that were opened."""
  class Bucket(MemoryFileSystem):
    protocol, store, pseudo_dirs = "gs", {}, [""]
    opened, broken = [], False
    def _open(self, path, mode="rb", **options):
      assert "a" not in mode
      self.opened.append((mode, path.rsplit("/")[-1]))
      if self.broken:
        raise HttpError("Service Unavailable, 503")
      return super()._open(path, mode, **options)
  monkeypatch.setattr(epath.backend.fsspec_backend, "fs", lambda path: Bucket())
  return Bucket


@pytest.fixture(params=["disk", "bucket"])
def workdir(request, tmp_path):
  """A folder on the disk, and one in a bucket."""
  if request.param == "disk":
    return tmp_path
  request.getfixturevalue("bucket")
  return epath.Path("gs://bucket/run")


@pytest.mark.parametrize("validated", [(2, 4, 6), (2, 6)])
def test_a_resumed_run_drops_the_steps_that_were_lost(workdir, validated):
  with MetricsLog(workdir, first_step=1) as log:
    for step in range(1, 7):
      log.add_scalars({"train/loss": step}, step)
      if step in validated:
        log.add_scalars({"validation/loss": 10 * step}, step)
  # The validation of step 4 was interrupted, before or after its line, and is made again.
  with MetricsLog(workdir, first_step=5) as log:
    log.add_scalars({"validation/loss": 41}, 4)
    log.add_scalars({"train/loss": 50}, 5)
    log.flush()
    log.add_scalars({"train/loss": 60}, 6)
  assert [tuple(line.values()) for line in read_metrics(workdir)] == [
      (1, 1), (2, 2), (2, 20), (3, 3), (4, 4), (4, 41), (5, 50), (6, 60)]


def test_an_error_of_a_bucket_is_a_warning_and_nothing_is_lost(bucket):
  workdir = epath.Path("gs://bucket/run")
  with MetricsLog(workdir, first_step=1) as log:
    log.add_scalars({"loss": 0.5}, 1)
    bucket.broken = True
    with pytest.warns(UserWarning, match=r"log .* \(Service Unavailable, 503\); .* continues"):
      log.flush()
    log.add_scalars({"loss": 0.25}, 2)
    bucket.broken = False
  assert read_metrics(workdir) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_a_bucket_gets_the_log_once_a_minute_and_at_saves_and_none_is_read_back(
    bucket, monkeypatch):
  workdir, minutes = epath.Path("gs://bucket/run"), 0.0
  monkeypatch.setattr(log_files.time, "monotonic", lambda: 60 * minutes)
  with MetricsLog(workdir, first_step=1) as log:
    for minutes in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0):
      log.add_scalars({"loss": minutes}, int(100 * minutes) + 1)
      log.flush(now=False)
    written = bucket.opened.count(("wb", "metrics.jsonl"))
    assert written == 3 and len(bucket.opened) == 2 * written
    log.add_scalars({"loss": 2.5}, 300)
    log.flush()
    assert len(read_metrics(workdir)) == 7
  assert [mode for mode, _ in bucket.opened].count("rb") == 1  # By this test.


def test_in_a_bucket_a_large_event_file_goes_on_in_another(bucket, monkeypatch):
  monkeypatch.setattr(log_files, "_PART_BYTES", 500)
  workdir = epath.Path("gs://bucket/run")
  with MetricsLog(workdir, first_step=1) as log:
    for step in range(1, 31):
      log.add_scalars({"loss": step}, step)
      log.flush()
  paths = sorted((workdir / "logs").iterdir())
  assert [path.name.partition(".part")[2] for path in paths] == ["", "0001", "0002"]
  events = [[*read_events(path)] for path in paths]
  assert all(part[0].file_version == "brain.Event:2" for part in events)
  assert [event.step for part in events for event in part if event.HasField("summary")] == [
      *range(1, 31)]
  # Each is written until it is full, not again.
  names = [name for mode, name in bucket.opened if mode == "wb" and "events" in name]
  assert names == sorted(names) and len(names) == 30
  assert len(read_metrics(workdir)) == 30


def test_a_run_that_has_nothing_left_to_do_drops_them_too(tmp_path):
  with MetricsLog(tmp_path, first_step=1) as log:
    log.add_scalars({"train/loss": 1}, 1)
    log.add_scalars({"train/loss": 2}, 2)
  with MetricsLog(tmp_path, first_step=2):
    pass
  assert read_metrics(tmp_path) == [{"step": 1, "train/loss": 1}]


def test_a_line_that_was_cut_off_goes_and_a_foreign_one_stays(tmp_path):
  (tmp_path / "metrics.jsonl").write_bytes(
      b'{"step": 1, "a": 1.0}\nmoved to the other cluster\n{"step": 2, "a": 2.0}\n{"step": 3, "a')
  with MetricsLog(tmp_path, first_step=4) as log:
    log.add_scalars({"a": 4}, 4)
  assert (tmp_path / "metrics.jsonl").read_text() == (
      '{"step": 1, "a": 1.0}\nmoved to the other cluster\n{"step": 2, "a": 2.0}\n'
      '{"step": 4, "a": 4.0}\n')


def test_a_log_that_was_moved_away_begins_again(tmp_path):
  with MetricsLog(tmp_path, first_step=1) as log:
    log.add_scalars({"a": 1}, 1)
    log.flush()
    (tmp_path / "metrics.jsonl").rename(tmp_path / "old.jsonl")
    log.add_scalars({"a": 2}, 2)
  assert read_metrics(tmp_path) == [{"step": 2, "a": 2.0}]


@contextlib.contextmanager
def files_of_at_most(size: int):
  """A file takes so many bytes, of a larger write the first part: what a full disk does."""
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_what_a_full_disk_does_not_take_is_warned_of_once_and_written_later(tmp_path):
  path = tmp_path / "metrics.jsonl"
  with MetricsLog(tmp_path, first_step=1) as log:
    log.add_scalars({"loss": 0.5, "rate": 0.25}, 1)
    log.flush()
    size = path.stat().st_size
    with files_of_at_most(size + 10):
      log.add_scalars({"loss": 0.75}, 2)
      with pytest.warns(UserWarning, match=r"log .* \(File too large\); .* continues"):
        log.flush()
      assert path.stat().st_size == size + 10
      log.add_scalars({"loss": 0.875}, 3)
      log.flush()  # No second warning: it would be an error here.
  assert read_metrics(tmp_path) == [
      {"step": 1, "loss": 0.5, "rate": 0.25}, {"step": 2, "loss": 0.75}, {"step": 3, "loss": 0.875}]
  assert read_scalars(tmp_path / "logs") == {
      "loss": {1: [0.5], 2: [0.75], 3: [0.875]}, "rate": {1: [0.25]}}


@pytest.mark.parametrize("before", [b"", b'{"step": 1, "loss": 0.5}\n'], ids=["new", "resumed"])
def test_a_disk_that_is_full_at_the_first_write_leaves_no_part_of_a_line(tmp_path, before):
  path = tmp_path / "metrics.jsonl"
  if before:
    path.write_bytes(before)
  with MetricsLog(tmp_path, first_step=2) as log:
    log.add_scalars({"loss": 0.75}, 2)
    with files_of_at_most(len(before) + 10), pytest.warns(UserWarning, match="File too large"):
      log.flush()
    assert path.stat().st_size == len(before) + 10
  assert path.read_bytes() == before + b'{"step": 2, "loss": 0.75}\n'
  assert read_scalars(tmp_path / "logs") == {"loss": {2: [0.75]}}


def test_a_folder_that_cannot_be_made_is_warned_of(tmp_path):
  (tmp_path / "logs").write_text("")
  log = MetricsLog(tmp_path, first_step=1)
  with pytest.warns(UserWarning, match="log could not be written"):
    log.flush()


def test_without_a_folder_nothing_is_written_or_kept(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with MetricsLog(None, first_step=1) as log:
    log.add_scalars({"loss": 1.0}, 1)
    assert not log._metrics._waiting and not log._events._waiting
  assert list(tmp_path.iterdir()) == []
