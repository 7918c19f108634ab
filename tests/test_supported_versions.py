"""Versions: setup.cfg, constraints files, workflow, pre-commit and Makefile agree."""

import configparser
import importlib.metadata
import pathlib
import subprocess
import sys

from packaging.requirements import Requirement
from packaging.version import Version
import pytest
import yaml

import mnc_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
OLDEST, DEFAULT, NEWEST = "constraints-oldest.txt", "constraints.txt", "constraints-newest.txt"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def requirements_of(text):
  """Returns {name: Requirement} of lines as setup.cfg and constraints files have them."""
  lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
  return {requirement.name: requirement for requirement in map(Requirement, filter(None, lines))}


def pins_of(name):
  """Returns {name: Version} of a constraints file, each line of which is a pin."""
  pins = {}
  for requirement in requirements_of((ROOT / name).read_text()).values():
    (pin,) = requirement.specifier
    assert pin.operator == "==", f"{name}: {requirement}"
    pins[requirement.name] = Version(pin.version)
  return pins


def bound_of(requirement, operator):
  """Returns the Version after `>=` or `<`, or None."""
  found = [Version(part.version) for part in requirement.specifier if part.operator == operator]
  return found[0] if found else None


JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
REQUIRED = requirements_of(SETUP["options"]["install_requires"])
LOWER_BOUNDS = {name: bound_of(requirement, ">=") for name, requirement in REQUIRED.items()
                if bound_of(requirement, ">=")}
PYTHONS = [line.rsplit(" ", 1)[1] for line in SETUP["metadata"]["classifiers"].splitlines()
           if "Python :: 3." in line]


def test_oldest_are_the_lower_bounds():
  assert {"jax", "jaxlib", "flax", "optax", "orbax-checkpoint"} <= set(LOWER_BOUNDS)
  assert pins_of(OLDEST) == LOWER_BOUNDS


@pytest.mark.parametrize("name", [OLDEST, DEFAULT, NEWEST])
def test_constraints_are_in_the_ranges(name):
  pins = pins_of(name)
  assert pins["jax"] == pins["jaxlib"]
  outside = {key: str(pin) for key, pin in pins.items()
             if key in REQUIRED and pin not in REQUIRED[key].specifier}
  assert not outside


def test_newest_are_the_last_below_the_upper_bounds_of_jax():
  end = bound_of(REQUIRED["jax"], "<").release
  assert pins_of(NEWEST)["jax"].release[:2] == (end[0], end[1] - 1)
  bounded = {name for name, requirement in REQUIRED.items() if bound_of(requirement, "<")}
  assert set(pins_of(NEWEST)) == bounded


def test_default_pins_everything_that_setup_cfg_requires():
  extras = SETUP["options.extras_require"]
  named = set(REQUIRED) | set(requirements_of(extras["dev"])) | set(requirements_of(extras["docs"]))
  assert named <= set(pins_of(DEFAULT))


def test_workflow_runs_all_classified_pythons_with_oldest_and_newest_versions():
  jobs = JOBS["test"]["strategy"]["matrix"]["include"]
  assert sorted({job["python"] for job in jobs}) == PYTHONS
  assert SETUP["options"]["python_requires"] == f">={PYTHONS[0]}"
  # JAX 0.11 needs Python 3.12; the oldest NumPy has no wheels for 3.13.
  assert {(job["python"], job["constraints"]) for job in jobs} == {
      ("3.11", OLDEST), ("3.11", DEFAULT), ("3.12", OLDEST), ("3.12", NEWEST), ("3.13", NEWEST)}
  assert pins_of(DEFAULT)["jax"].release[:2] == (0, 10)


def test_workflow_runs_the_commands_of_the_readme():
  runs = [step["run"] for step in JOBS["test"]["steps"] if "run" in step]
  chosen = "PYTHON=python CONSTRAINTS=${{ matrix.constraints }}"
  assert runs == [f"make test {chosen}", f"make demo {chosen}"]


def test_pre_commit_runs_the_pinned_ruff():
  (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
  assert repo["rev"] == f"v{pins_of(DEFAULT)['ruff']}"


def test_citation_has_the_version_of_the_package():
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  assert citation["version"] == mnc_jax.__version__


@pytest.mark.parametrize("name", [OLDEST, DEFAULT, NEWEST])
def test_make_installs_the_chosen_versions(name, tmp_path):
  printed = subprocess.run(
      ["make", "--dry-run", "install", f"PYTHON={sys.executable}", f"VENV={tmp_path}/venv",
       f"CONSTRAINTS={name}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
  assert f" -c {name} -e " in printed
  # The stamp of other versions is removed, so that choosing them again installs them again.
  assert f"rm -f {tmp_path}/venv/.installed* && touch {tmp_path}/venv/.installed-{name}" in printed


def test_running_versions_are_supported():
  assert f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS
  outside = {name: importlib.metadata.version(name) for name, requirement in REQUIRED.items()
             if importlib.metadata.version(name) not in requirement.specifier}
  assert not outside
