"""Damage to bytes and to JSON values. The same `random.Random` does the same damage."""

import copy
import json
import struct
import zlib

_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1,
            2**64 - 1)


def damage_bytes(rng, content: bytes) -> bytes:
  """Returns the content after one to four changes."""
  for _ in range(rng.randint(1, 4)):
    content = rng.choice(_BYTE_CHANGES)(rng, content)
  return content


def _span(rng, content):
  """Returns a position and a length, mostly short."""
  start = rng.randrange(len(content) + 1)
  return start, start + min(rng.choice((1, 2, 4, 8, 64, 1024)), len(content) - start)


def _flip(rng, content):
  if not content:
    return content
  place = rng.randrange(len(content))
  return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1:]


def _truncate(rng, content):
  return content[:rng.randrange(len(content) + 1)]


def _insert(rng, content):
  place = rng.randrange(len(content) + 1)
  return content[:place] + rng.randbytes(rng.choice((1, 3, 16, 300))) + content[place:]


def _remove(rng, content):
  start, end = _span(rng, content)
  return content[:start] + content[end:]


def _fill(rng, content):
  start, end = _span(rng, content)
  return content[:start] + rng.choice((b"\0", b"\xff")) * (end - start) + content[end:]


def _splice(rng, content):
  """Copies one part over another."""
  start, end = _span(rng, content)
  place = rng.randrange(len(content) + 1)
  return content[:place] + content[start:end] + content[place + end - start:]


def _number(rng, content):
  """Writes a number at the limits of its type, of 2, 4 or 8 bytes, either end first."""
  width, order = rng.choice((2, 4, 8)), rng.choice(("little", "big"))
  place = rng.randrange(max(1, min(len(content), rng.choice((64, 512, 10**9)))))
  written = (rng.choice(_NUMBERS) % 256**width).to_bytes(width, order)
  return content[:place] + written + content[place + width:]


_BYTE_CHANGES = (_flip, _flip, _truncate, _insert, _remove, _fill, _splice, _number)


def deep(levels: int):
  """Returns lists in lists."""
  value = 0
  for _ in range(levels):
    value = [value]
  return value


ODD_VALUES = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.5, 3.0, 2**31, 2**32, 2**63, 10**30, 1e308, -1e308,
    float("nan"), float("inf"), -float("inf"), "", "text", "7", "1234", "nan", "é" * 3, "\0",
    "\ud800", "a" * 5000, "../outside.png", "/etc/passwd", "..", ".", [], {}, [[]], [None], ["1"],
    [1, 2], [1, 2, 3, 4], [0.5, "x"], {"a": 1}, {"size": [1, 1], "counts": [1]}, deep(40))


def damage_json(rng, value):
  """Returns a copy of a JSON value after one to three changes of its structure."""
  value = copy.deepcopy(value)
  for _ in range(rng.randint(1, 3)):
    places = list(_places(value))
    if places:
      holder, key = rng.choice(places)
      rng.choice(_JSON_CHANGES)(rng, holder, key, places)
  return value


def _places(value):
  """Yields (holder, key or index) of all values below this one."""
  items = (value.items() if isinstance(value, dict) else
           enumerate(value) if isinstance(value, list) else ())
  for key, item in list(items):
    yield value, key
    yield from _places(item)


def _replace(rng, holder, key, places):
  del places
  holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))


def _delete(rng, holder, key, places):
  del rng, places
  if isinstance(holder, list):
    del holder[key:key + 1]
  else:
    holder.pop(key, None)


def _repeat(rng, holder, key, places):
  """Doubles an item of a list, ids and all; of an object, gives a value a second name."""
  del places
  if isinstance(holder, list):
    holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
  else:
    holder[f"{key}_"] = copy.deepcopy(holder[key])


def _borrow(rng, holder, key, places):
  """Puts a value from elsewhere here."""
  other, at = rng.choice(places)
  holder[key] = copy.deepcopy(other[at])


def _distort(rng, holder, key, places):
  del places
  value = holder[key]
  if isinstance(value, bool) or not isinstance(value, int | float | str):
    holder[key] = [copy.deepcopy(value)]
  elif isinstance(value, str):
    holder[key] = damage_bytes(rng, value.encode(errors="replace")).decode("latin-1")
  else:
    holder[key] = rng.choice((-value, value + 1, value * 1000, str(value), float(value)))


_JSON_CHANGES = (_replace, _replace, _replace, _delete, _repeat, _borrow, _distort)


def spell_json(rng, value) -> bytes:
  """Writes JSON; sometimes with a key twice, or far too deep, or with damaged bytes."""
  text = json.dumps(value)
  kind = rng.randrange(16)
  if kind == 0 and '"' in text:
    key = rng.choice(text.split('"')[1::2] or ["a"])
    text = text.replace(f'"{key}":', f'"{key}": {json.dumps(rng.choice(ODD_VALUES))}, "{key}":', 1)
  elif kind == 1:
    place = rng.choice([i for i, letter in enumerate(text) if letter in "0123456789"] or [0])
    levels = rng.choice((500, 5000, 200_000))
    text = text[:place] + "[" * levels + "]" * levels + text[place + 1:]
  elif kind == 2:
    text = text.replace("1", "9" * rng.choice((20, 400, 10_000)), 1)
  elif kind <= 5:
    return damage_bytes(rng, text.encode())
  return text.encode()


def pack_chunk(kind: bytes, content: bytes) -> bytes:
  """Returns a chunk of PNG with its right checksum."""
  return (struct.pack(">I", len(content)) + kind + content
          + struct.pack(">I", zlib.crc32(kind + content)))
