"""Stand-ins for the packages wandb and clu, which record what they get."""

import sys
import types


class Recorder:
  """A CLU MetricWriter that records its calls."""

  def __init__(self, broken=()):
    self.calls, self._broken = [], broken

  def __getattr__(self, method):
    def call(*arguments):
      if method in self._broken:
        raise ConnectionError("no network")
      self.calls.append((method, *arguments))
    return call


class Wandb(types.ModuleType):
  """The part of wandb that is used; `runs` has the arguments of `init`, `logged` the rest."""

  def __init__(self):
    super().__init__("wandb")
    self.runs, self.logged, self.finished = [], [], 0

  def init(self, **options):
    self.runs.append(options)
    def finish():
      self.finished += 1
    return types.SimpleNamespace(
        log=self.logged.append, finish=finish,
        define_metric=lambda *names, **options: self.logged.append((names, options)))

  def Image(self, image):
    return ("image", image.shape)


def install(monkeypatch):
  """Installs both; returns wandb, and {folder: Recorder} of CLU's writers."""
  wandb, writers = Wandb(), {}
  metric_writers = types.ModuleType("clu.metric_writers")
  def create_default_writer(folder):
    writers[folder] = Recorder()
    return writers[folder]
  metric_writers.create_default_writer = create_default_writer
  monkeypatch.setitem(sys.modules, "wandb", wandb)
  monkeypatch.setitem(sys.modules, "clu", types.ModuleType("clu"))
  monkeypatch.setitem(sys.modules, "clu.metric_writers", metric_writers)
  for name in ("WANDB_PROJECT", "WANDB_NAME"):
    monkeypatch.delenv(name, raising=False)
  return wandb, writers
