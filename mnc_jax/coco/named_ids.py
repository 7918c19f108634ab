"""Results that name what their ids stand for: images by file, categories by name."""

from typing import Any

from mnc_jax.coco.schema import is_integer


def find_pairs(results: Any, id_field: str, name_field: str) -> dict[tuple[int, str], None]:
  """Returns the pairs (id, name) that occur, in order, as keys; none of damaged results."""
  if not isinstance(results, list) or not all(
      isinstance(row, dict) and is_integer(row.get(id_field)) for row in results):
    return {}  # Whoever checks them will reject them.
  return dict.fromkeys((row[id_field], row[name_field]) for row in results
                       if isinstance(row.get(name_field), str))


def check_all_named(results: list[dict], name_field: str, contradiction: str, results_name: str
                    ) -> None:
  """Rejects results of which some have no name, where the names of others contradict their ids.

  Args:
    results: rows.
    name_field: of the name.
    contradiction: an example, for the message.
    results_name: what the message calls the results.

  Raises:
    ValueError: naming the first without a name.
  """
  for index, row in enumerate(results):
    if not isinstance(row.get(name_field), str):
      raise ValueError(f"{results_name}: result {index} has no {name_field} and {contradiction}: "
                       f"give all results a {name_field}, or none")
