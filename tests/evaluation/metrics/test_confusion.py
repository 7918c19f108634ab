import numpy as np
import pytest

from helpers import report_sets as sets
from mnc_jax.evaluation.metrics.confusion import confusion_matrix
from mnc_jax.evaluation.metrics.errors import classify_errors


def make_matrix(ground_truth, results, **options):
  categories = [category["id"] for category in ground_truth["categories"]]
  return confusion_matrix(classify_errors(ground_truth, results, **options), categories)


def test_every_instance_and_every_result_is_counted_once():
  ground_truth, results = sets.make_set()
  # Rows and columns: cat, dog, x, and no instance or missed. The dog of image 3 was called a cat.
  assert make_matrix(ground_truth, results, min_score=0.3).tolist() == [
      [1, 0, 0, 2], [1, 0, 0, 1], [0, 0, 0, 0], [2, 2, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_the_numbers_of_instances_and_results(seed):
  rng = np.random.default_rng(seed)
  def records(count, **fields):
    return [sets.make_record(int(rng.integers(1, 6)), int(rng.integers(1, 4)),
                             np.sort(rng.choice(80, 2, replace=False)).tolist(),
                             **{name: make() for name, make in fields.items()})
            for _ in range(count)]
  ground_truth, _ = sets.make_set()
  numbers = iter(range(1, 100))
  ground_truth["annotations"] = records(20, id=lambda: next(numbers))
  results = records(40, score=lambda: float(rng.random()))
  counts = make_matrix(ground_truth, results)
  for index in range(3):
    assert counts[index].sum() == sum(
        record["category_id"] == index + 1 for record in ground_truth["annotations"])
    assert counts[:, index].sum() == sum(
        record["category_id"] == index + 1 for record in results)
  assert counts[3, 3] == 0


def test_a_perfect_network_has_a_diagonal_matrix():
  ground_truth, _ = sets.make_set()
  results = [record | {"score": 1.0} for record in ground_truth["annotations"]
             if not record.get("iscrowd")]
  assert make_matrix(ground_truth, results).tolist() == np.diag([3, 2, 0, 0]).tolist()


def test_an_instance_counts_for_its_own_category_and_else_for_the_best_confusion():
  ground_truth, _ = sets.make_set()
  def count(*given):
    results = [sets.make_record(1, category, sets.LEFT, score=score) for category, score in given]
    images = ground_truth["images"][:1]
    one = ground_truth | {"images": images, "annotations": ground_truth["annotations"][:1]}
    return make_matrix(one, results).tolist()
  # Found although a better result calls it a dog, which then finds nothing.
  assert count((2, 0.9), (1, 0.5)) == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
  assert count((3, 0.5), (2, 0.9)) == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]


def test_a_set_without_images():
  ground_truth, _ = sets.make_set()
  assert not make_matrix(ground_truth | {"images": [], "annotations": []}, []).any()
