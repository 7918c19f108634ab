"""How the command line joins processes, and what it says if it cannot, or should have."""

import pathlib

from etils import epath
import pytest

from mnc_jax.cli.commands import Hosts
from mnc_jax.cli.hosts import check_joined, join_hosts
from mnc_jax.cli.parse import UsageError

STARTED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
  """An environment of no cluster."""
  for name in STARTED:
    monkeypatch.delenv(name, raising=False)


def test_an_environment_without_hosts_is_a_usage_error(monkeypatch):
  def fail(**options):
    raise ValueError("coordinator_address should be defined.")
  monkeypatch.setattr("mnc_jax.parallel.join_hosts", fail)
  with pytest.raises(UsageError, match=(
      r"does not name the hosts \(coordinator_address should be defined\): .* give --coordinator "
      "HOST:PORT --num-processes N --process-id I$")):
    join_hosts(Hosts(join_hosts=True))


def test_some_of_the_options_are_a_usage_error():
  with pytest.raises(UsageError, match="go together; or give --join-hosts"):
    join_hosts(Hosts(num_processes=2))


@pytest.mark.parametrize("name", STARTED)
def test_processes_that_were_started_together_but_train_alone_are_reported(monkeypatch, name):
  bucket = epath.Path("gs://bucket/run")
  for count in ("1", ""):
    monkeypatch.setenv(name, count)
    check_joined(bucket)
  monkeypatch.setenv(name, "4")
  with pytest.raises(UsageError, match=f"^4 processes .*{name}.* add --join-hosts .* -u {name} "):
    check_joined(bucket)
  with pytest.warns(UserWarning, match="4 processes .* add --join-hosts .*, or give each a "):
    check_joined(pathlib.Path("runs/a"))
  # They have joined.
  monkeypatch.setattr("mnc_jax.parallel.process_count", lambda: 4)
  check_joined(bucket)
