"""Damaged inputs of every reader, 200 of those that `mutations/run.py` tries by the thousand."""

import pytest

from mutations.run import ALL_FAMILIES, FAMILIES
from mutations.workers import run


def test_200_damaged_inputs_are_rejected_or_valid():
  inputs = [(FAMILIES[number % len(FAMILIES)], number // len(FAMILIES)) for number in range(200)]
  counts, faults = run(inputs, module="mutations.families")
  assert not faults, "\n".join(f"--family {name} --seed {seed}: {outcome.detail}"
                               for name, seed, outcome in faults)
  kinds = {kind: sum(count[kind] for count in counts.values()) for kind in ("rejected", "accepted")}
  assert sum(kinds.values()) == 200
  # Damage that all readers notice, or none, would test little.
  assert kinds["rejected"] > 100 and kinds["accepted"] > 10


@pytest.fixture(scope="module")
def broken():
  """Outcomes of readers with a fault each, in the order of their names, all by one call."""
  names = ("sound", "tells", "bare", "raises", "lies", "fine", "dies", "ends", "hangs", "fills",
           "sound", "lies", "lies")
  found = []
  run([(name, 3) for name in names], module="mutations.broken", timeout=3,
      report=lambda *row: found.append(row))
  assert [name for name, _, _ in found] == list(names)
  return found


@pytest.mark.parametrize(("name", "kind", "detail"), [
    ("sound", "rejected", "number is damaged"),
    ("fine", "accepted", ""),
    ("tells", "fault", "ValueError does not name 'number': it is damaged"),
    ("bare", "fault", "speaks of 'NoneType'"),
    ("raises", "fault", "KeyError: 'internal'"),
    ("lies", "fault", "accepted, but found 0."),
    ("dies", "fault", "the process died of SIGSEGV"),
    ("ends", "fault", "the process died of status 7"),
    ("hangs", "fault", "no answer in 3 s"),
    ("fills", "fault", "MemoryError")])
def test_a_fault_of_a_reader_is_seen(broken, name, kind, detail):
  outcome = next(outcome for found, _, outcome in broken if found == name)
  assert outcome.kind == kind
  assert detail in outcome.detail


def test_the_run_goes_on_after_a_death_and_an_input_is_made_again(broken):
  assert broken[-3][2].kind == "rejected"
  first = next(outcome for name, _, outcome in broken if name == "lies")
  assert broken[-2][2] == broken[-1][2] == first


def test_the_program_knows_all_families():
  from mutations import families
  assert set(ALL_FAMILIES) == set(families.FAMILIES)
  assert set(ALL_FAMILIES) - set(FAMILIES) <= {"torch"}
