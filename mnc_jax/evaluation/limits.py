"""Whether the static shapes of inference held all instances of an image."""

from collections.abc import Sequence
import math

from mnc_jax.config import Config
from mnc_jax.structs import Instances

# Share of the proposals that end as instances where there are more objects than proposals: NMS
# leaves one of several on an object. The shipped model of nuclei had .98, .96 and .94 of 400
# proposals on 450, 700 and 380 objects, and .75 on 300, all of which it found.
_EXHAUSTED = 0.9


def score_at_limit(found: Instances, configs: Sequence[Config]) -> float:
  """Returns the score down to which an image fills the static shapes: others may be missing.

  That is the lowest score if `inference.max_instances` dropped any; and the one that nine tenths as
  many instances reach as there are proposals, since then objects beyond these had none.

  Args:
    found: in one image, without padding, best first, with its own `dropped`.
    configs: of the models that vote together.

  Returns:
    The higher of the two; -1 if there is neither.
  """
  proposals = max(config.inference.proposals.num_proposals for config in configs)
  exhausted = math.ceil(_EXHAUSTED * proposals)
  scores = [-1.0]
  if found.dropped and len(found.scores):
    scores.append(float(found.scores[-1]))
  if len(found.scores) >= exhausted:
    scores.append(float(found.scores[exhausted - 1]))
  return max(scores)


def describe_limit(scores: Sequence[float], name: str, min_score: float, config: Config) -> str:
  """Returns a sentence if instances may be missing for lack of slots, else "".

  Args:
    scores: from `score_at_limit`, of the image or of each of its tiles.
    name: of the image; for tiles it has their number, "9 tiles of a.png".
    min_score: of the instances that count. 0: none is missed, since weak ones fill any limit.
    config: of the first model.
  """
  if not any(score >= min_score > 0 for score in scores):
    return ""
  inference = config.inference
  return (f"{name}: there may be more instances of score {min_score:g} than were found, since "
          f"inference.max_instances is {inference.max_instances} and "
          f"inference.proposals.num_proposals {inference.proposals.num_proposals}: raise both")
