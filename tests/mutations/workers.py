"""Runs damaged inputs in worker processes, so that a crash or a hang is seen and survived."""

import collections
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile

from mutations.outcomes import Outcome

ROOT = pathlib.Path(__file__).resolve().parents[2]
_PATHS = (ROOT, ROOT / "tests")
_START = 1200  # Seconds to import everything, on a busy machine.
_TICKS = os.sysconf("SC_CLK_TCK")


class Worker:
  """A process that judges inputs, and a new one after it died.

  Attributes:
    module: that holds the families.
    timeout: seconds an input may compute or sleep. Waiting for a processor, on a busy machine,
      does not count.
  """

  def __init__(self, module: str, *, timeout: float = 20.0):
    self.module, self.timeout, self._process, self._errors = module, timeout, None, None

  def judge(self, family: str, seed: int) -> Outcome:
    """Returns the outcome of one input; a death or a hang of the process is a fault."""
    if self._process is None:
      self._start()
    self._process.stdin.write(f"{family} {seed}\n".encode())
    self._process.stdin.flush()
    line = self._read_answer()
    if line:
      return Outcome(*json.loads(line))
    hung = self._process.poll() is None and line is None
    self.close(kill=True)
    return Outcome("fault", f"no answer in {self.timeout:g} s" if hung else self._describe_death())

  def close(self, *, kill: bool = False) -> None:
    """Ends the process."""
    if self._process is not None:
      if kill:
        self._process.kill()
      self._process.stdin.close()
      self._process.wait()
      self._process.stdout.close()
      self._errors.seek(0)
      self._said = self._errors.read().decode(errors="replace").splitlines()
      self._errors.close()
      self._code, self._process = self._process.returncode, None

  def _start(self):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, _PATHS)), "JAX_PLATFORMS": "cpu",
        "OPENCV_LOG_LEVEL": "OFF"}
    self._errors = tempfile.TemporaryFile()  # noqa: SIM115
    self._process = subprocess.Popen(
        [sys.executable, "-m", "mutations.worker", self.module], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
    if self._read_line(_START) != b"ready\n":
      self.close(kill=True)
      raise RuntimeError(f"the worker did not start: {self._tail()}")

  def _read_answer(self):
    """Returns a line, b"" if the process ended, None if it computes or sleeps for too long."""
    begin, asleep = self._computed(), 0.0
    while asleep + self._computed() - begin < self.timeout:
      line = self._read_line(0.25)
      if line is not None:
        return line
      asleep += 0.25 * (self._status()[0] == "S")
    return None

  def _computed(self):
    """Returns the seconds of processor time that the process has had."""
    return sum(map(int, self._status()[11:13])) / _TICKS

  def _status(self):
    """Returns the fields of /proc/PID/stat from the state on."""
    text = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text()
    return text.rpartition(")")[2].split()

  def _read_line(self, seconds):
    """Returns a line, b"" if the process ended, None if there is none in time."""
    ready, _, _ = select.select([self._process.stdout], [], [], seconds)
    return self._process.stdout.readline() if ready else None

  def _describe_death(self):
    name = signal.Signals(-self._code).name if self._code < 0 else f"status {self._code}"
    return f"the process died of {name}: {self._tail()}"

  def _tail(self):
    frames = [line.strip() for line in self._said if line.strip().startswith("File ")]
    return " | ".join(frames[:4] or self._said[-4:])[:600]


def run(inputs, *, module: str, timeout: float = 20.0, report=None):
  """Judges inputs one after the other.

  Args:
    inputs: of (family, seed).
    module: that holds the families.
    timeout: seconds an input may compute or sleep.
    report: called with family, seed and outcome of each.

  Returns:
    `({family: Counter of kinds}, [(family, seed, Outcome)] of the faults)`.
  """
  counts, faults = collections.defaultdict(collections.Counter), []
  worker = Worker(module, timeout=timeout)
  try:
    for family, seed in inputs:
      outcome = worker.judge(family, seed)
      counts[family][outcome.kind] += 1
      if outcome.kind == "fault":
        faults.append((family, seed, outcome))
      if report:
        report(family, seed, outcome)
  finally:
    worker.close()
  return dict(counts), faults
