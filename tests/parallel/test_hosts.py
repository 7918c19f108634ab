"""Processes that exchange values, and fail together."""

from helpers.two_processes import run_two
from mnc_jax import parallel

# Shares of different lengths, with a letter of two bytes.
_GATHER = """
from mnc_jax import parallel
print(parallel.gather([[1], "\u00e9" * 9, 1 / 3] if sys.argv[1] == "0" else {"a": [2]}))
"""


def test_two_processes_gather_the_shares_of_both():
  expected = str([[[1], "\u00e9" * 9, 1 / 3], {"a": [2]}])
  assert run_two(_GATHER) == [expected, expected]


def test_one_process_has_the_only_share():
  assert parallel.gather({"a": 1}) == [{"a": 1}]


_DISAGREE = """
from mnc_jax import parallel
parallel.synchronize("test")
for check in (lambda: parallel.check_same({"a": 1, "b": {"c": sys.argv[1]}}, "field "),
              lambda: parallel.fail_together("full" if sys.argv[1] == "1" else None)):
  try:
    check()
  except (ValueError, OSError) as error:
    print(error, end="; ")
print()
"""


def test_both_processes_fail_if_they_differ_or_one_fails():
  for printed in run_two(_DISAGREE):
    assert printed.startswith("process 1 has field b.c 1, but process 0 has 0: start the same")
    assert printed.endswith("; full; ")
