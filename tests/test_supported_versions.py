"""Versions: setup.cfg, constraints files, workflow, pre-commit and Makefile agree."""

import configparser
import importlib.metadata
import os
import pathlib
import re
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


def test_workflow_runs_the_tests_and_the_demo():
  runs = [step["run"] for step in JOBS["test"]["steps"] if "run" in step]
  chosen = "PYTHON=python CONSTRAINTS=${{ matrix.constraints }}"
  assert runs == [f"make test {chosen}", f"make demo {chosen}"]


def test_pre_commit_runs_the_pinned_ruff():
  (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
  assert repo["rev"] == f"v{pins_of(DEFAULT)['ruff']}"


def test_citation_and_changelog_have_the_version_of_the_package():
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
  assert citation["version"] == mnc_jax.__version__
  assert headings[:2] == ["Unreleased", f"{mnc_jax.__version__} - {citation['date-released']}"]


RELEASE = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]


def test_a_release_is_checked_on_all_pythons_with_versions_that_are_tested():
  matrix = RELEASE["check"]["strategy"]["matrix"]
  assert matrix["python"] == PYTHONS
  assert matrix["package"] == ["*.whl", "*.tar.gz"]
  everywhere, *exceptions = matrix["include"]
  chosen = dict.fromkeys(PYTHONS, everywhere["constraints"]) | {
      job["python"]: job["constraints"] for job in exceptions}
  tested = {(job["python"], job["constraints"])
            for job in JOBS["test"]["strategy"]["matrix"]["include"]}
  assert set(chosen.items()) <= tested
  assert "tests/wheel_check.py" in RELEASE["check"]["steps"][-1]["run"]


def test_only_a_tag_that_was_checked_is_published_and_without_a_password():
  publish = RELEASE["publish"]
  assert publish["needs"] == ["check", "docker"]
  assert RELEASE["check"]["needs"] == "build"
  assert publish["if"] == "github.event_name == 'push' && github.ref_type == 'tag'"
  assert publish["permissions"] == {"id-token": "write"}
  assert "with" not in publish["steps"][-1]
  assert not any("permissions" in job for name, job in RELEASE.items() if name != "publish")


@pytest.mark.parametrize(("tag", "fits"), [
    (f"v{mnc_jax.__version__}", True), ("v0.2.99", False), (f"v{mnc_jax.__version__}rc1", False)])
def test_the_tag_of_a_release_is_the_version(tag, fits):
  (step,) = (step for step in RELEASE["build"]["steps"] if step.get("if"))
  status = subprocess.run(["bash", "-c", step["run"]], cwd=ROOT, check=False,
                          env=os.environ | {"GITHUB_REF_NAME": tag}).returncode
  assert (status == 0) == fits


def test_links_in_the_readme_of_a_release_lead_to_the_repository(tmp_path):
  (step,) = (step for step in RELEASE["build"]["steps"] if "sed" in step.get("run", ""))
  text = (ROOT / "README.md").read_text()
  (tmp_path / "README.md").write_text(text)
  subprocess.run(["bash", "-c", step["run"]], cwd=tmp_path, check=True, env=os.environ | {
      "GITHUB_REPOSITORY": "owner/name", "GITHUB_REF_NAME": "v1.2.3"})
  changed = (tmp_path / "README.md").read_text()
  home = "https://github.com/owner/name"
  assert all(target.startswith(("https://", "#"))
             for target in re.findall(r"\]\(([^)]*)\)", changed))
  assert "](docs/report.jpg)" in text and f"]({home}/raw/v1.2.3/docs/report.jpg)" in changed
  assert f"]({home}/blob/v1.2.3/LICENSE)" in changed
  restored = changed.replace(f"{home}/raw/v1.2.3/", "").replace(f"{home}/blob/v1.2.3/", "")
  assert restored == text


def test_the_image_has_versions_that_are_tested():
  lines = (ROOT / "Dockerfile").read_text().splitlines()
  (python,) = {re.fullmatch(r"FROM python:([\d.]+)-slim(?: AS build)?", line)[1]
               for line in lines if line.startswith("FROM")}
  constraints = next(line.split()[1] for line in lines if line.startswith("COPY constraints"))
  tested = {(job["python"], job["constraints"])
            for job in JOBS["test"]["strategy"]["matrix"]["include"]}
  assert (python, constraints) in tested


def test_what_the_wheel_is_built_from_is_in_the_context_of_the_image():
  kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
          if line.startswith("!")}
  assert {"mnc_jax", "setup.cfg", "pyproject.toml", SETUP["metadata"]["license_files"],
          SETUP["metadata"]["long_description"].removeprefix("file: "), DEFAULT} <= kept


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
