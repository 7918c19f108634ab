"""Reads the logs of a run."""

import collections
import json
import pathlib
import struct

from tensorboardX.proto import event_pb2


def read_metrics(workdir) -> list[dict]:
  """Returns the lines of `metrics.jsonl`."""
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def read_scalars(folder: pathlib.Path) -> dict:
  """Returns {name: {step: [values]}} of TensorBoard's files; a repeated step has several."""
  found = collections.defaultdict(lambda: collections.defaultdict(list))
  for path in sorted(pathlib.Path(folder).iterdir()):
    for event in read_events(path):
      for value in event.summary.value:
        if value.HasField("simple_value"):
          found[value.tag][event.step].append(value.simple_value)
  return found


def read_events(path: pathlib.Path):
  """Yields the events of one file."""
  content = path.read_bytes()
  # Length, its checksum, the event, its checksum. The last one of a killed run may be cut off.
  while len(content) >= 12:
    length, = struct.unpack("<Q", content[:8])
    if len(content) < length + 16:
      return
    yield event_pb2.Event.FromString(content[12:12 + length])
    content = content[length + 16:]
