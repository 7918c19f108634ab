"""Statement and branch coverage apart, out of `coverage json`, whose own total mixes the two.

    coverage json -o FILE && python tests/coverage_figures.py FILE
"""

import json
import pathlib
import sys

# kind: (covered, of how many, both as coverage's totals name them, bar in %).
BARS = {
    "statements": ("covered_lines", "num_statements", 95.0),
    "branches": ("covered_branches", "num_branches", 90.0),
}


def percentages(totals):
  """Returns {"statements": %, "branches": %} of a summary; nothing to cover counts as 100."""
  return {kind: 100 * totals[covered] / totals[count] if totals[count] else 100.0
          for kind, (covered, count, _) in BARS.items()}


def least_covered(files, *, most=10):
  """Returns (path, uncovered statements, uncovered branches) of the files that lack most."""
  rows = [(path, file["summary"]["missing_lines"], file["summary"]["missing_branches"])
          for path, file in files.items()]
  lacking = [row for row in rows if row[1] + row[2]]
  return sorted(lacking, key=lambda row: -row[1] - row[2])[:most]


def main(path):
  """Prints the figures and what lacks most; returns a message if a bar is not reached."""
  report = json.loads(pathlib.Path(path).read_text())
  totals = report["totals"]
  if not totals["num_statements"]:
    return f"{path} covers no statement: run the tests with --cov first"
  for name, lines, branches in least_covered(report["files"]):
    print(f"{name}: {lines} statements and {branches} branches are not run")
  reached = percentages(totals)
  for kind, (covered, count, _) in BARS.items():
    print(f"{kind}: {totals[covered]} of {totals[count]}, {reached[kind]:.2f} %")
  low = [f"{reached[kind]:.2f} % of {kind}, at least {bar:g} % must be"
         for kind, (_, _, bar) in BARS.items() if reached[kind] < bar]
  return f"Too little is run by the tests: {'; '.join(low)}." if low else None


if __name__ == "__main__":
  sys.exit(main(sys.argv[1]))
