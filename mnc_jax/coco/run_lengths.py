"""Run lengths of masks, as COCO's RLE has them: of zeros and ones in turn, down the columns."""

import numpy as np

_LONGEST_SHIFT = 30  # Bits; pycocotools reads lengths of 32.


def join_runs(lengths: np.ndarray) -> list[int]:
  """Returns the same runs, without empty ones after the first.

  Where both masks have an empty run, pycocotools takes it for their end: the IoU of [3, 0, 5, 8]
  with itself is 0.
  """
  joined = [0]
  for index, length in enumerate(lengths.tolist()):
    if length and index % 2 == len(joined) % 2:
      joined.append(length)
    else:
      joined[-1] += length
  return joined


def decompress_runs(text: bytes) -> np.ndarray:
  """Returns the run lengths of compressed counts.

  Each character, less 48, holds five bits, the lowest first, and in its sixth bit whether
  more follow; from the fourth on, a number is the difference to the length two before.

  Raises:
    ValueError: if the text is damaged.
  """
  codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
  if ((codes < 0) | (codes > 63)).any():
    wrong = text[int(np.argmax((codes < 0) | (codes > 63)))]
    raise ValueError(f"segmentation has the character {chr(wrong)!r} in its counts")
  last = codes < 32
  if not last[-1:].all():
    raise ValueError("segmentation has counts that are truncated")
  ends = np.flatnonzero(last)
  starts = np.append(0, ends[:-1] + 1)[:len(ends)]
  shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
  if shifts.max(initial=0) > _LONGEST_SHIFT:
    raise ValueError("segmentation has a length of more than 32 bits in its counts")
  numbers = np.add.reduceat((codes & 31) << shifts, starts) if len(codes) else codes
  numbers -= np.where(codes[ends] & 16, np.int64(32) << shifts[ends], 0)
  numbers[1::2], numbers[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
  return numbers
