"""The two figures of coverage and their bars."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import coverage_figures


def report(*, lines=(100, 100), branches=(100, 100), files=None):
  """Returns what `coverage json` writes, for (covered, all) statements and branches."""
  totals = {"covered_lines": lines[0], "num_statements": lines[1],
            "covered_branches": branches[0], "num_branches": branches[1],
            "percent_covered": 99.0}
  return {"totals": totals, "files": files or {}}


def run(tmp_path, content):
  """Returns the message of the script, None where all is well."""
  (tmp_path / "coverage.json").write_text(json.dumps(content))
  return coverage_figures.main(tmp_path / "coverage.json")


def test_the_bars_themselves_are_enough(tmp_path, capsys):
  assert run(tmp_path, report(lines=(950, 1000), branches=(180, 200))) is None
  assert capsys.readouterr().out.splitlines() == [
      "statements: 950 of 1000, 95.00 %", "branches: 180 of 200, 90.00 %"]


@pytest.mark.parametrize("low, message", [
    ({"lines": (949, 1000)}, "94.90 % of statements, at least 95 %"),
    ({"branches": (179, 200)}, "89.50 % of branches, at least 90 %"),
])
def test_each_bar_fails_alone(tmp_path, low, message):
  # Coverage's own total would pass: the other of the two figures is 100 %.
  found = run(tmp_path, report(**low))
  assert message in found
  assert found.count("%") == 2


def test_a_run_that_measured_nothing_is_no_success(tmp_path):
  assert "run the tests with --cov" in run(tmp_path, report(lines=(0, 0), branches=(0, 0)))


def test_a_file_without_branches_is_whole():
  totals = report(lines=(1, 2), branches=(0, 0))["totals"]
  assert coverage_figures.percentages(totals) == {"statements": 50.0, "branches": 100.0}


def test_the_files_that_lack_most_come_first():
  files = {name: {"summary": {"missing_lines": lines, "missing_branches": branches}}
           for name, lines, branches in (("a", 1, 1), ("b", 0, 0), ("c", 0, 5), ("d", 3, 0))}
  assert coverage_figures.least_covered(files, most=2) == [("c", 0, 5), ("d", 3, 0)]


def test_real_coverage_has_these_fields(tmp_path):
  # Under `make coverage` these programs are measured by themselves alone.
  environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
  (tmp_path / "branching.py").write_text("def f(x):\n  if x:\n    return 1\n  return 2\n\n\nf(0)\n")
  for arguments in (["run", "--branch", "--include=branching.py", "branching.py"],
                    ["json", "-q", "-o", "coverage.json"]):
    subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=tmp_path,
                   env=environment, check=True)
  script = pathlib.Path(coverage_figures.__file__)
  done = subprocess.run([sys.executable, script, "coverage.json"], cwd=tmp_path,
                        env=environment, capture_output=True, text=True)
  assert done.returncode == 1
  assert done.stdout.splitlines() == [
      "branching.py: 1 statements and 1 branches are not run",
      "statements: 4 of 5, 80.00 %", "branches: 1 of 2, 50.00 %"]
  assert done.stderr.startswith("Too little is run by the tests: 80.00 % of statements")
