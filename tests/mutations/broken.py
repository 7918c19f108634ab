"""Readers with one fault each, to see that it is seen."""

import os
import signal
import time

from mutations.outcomes import Family, require


def _write(rng, folder):
  (folder / "number").write_text(str(rng.random()))
  return "number"


def _reject(message):
  def read(folder):
    raise ValueError(message.format(folder / "number"))
  return read


def _fail(folder):
  raise KeyError("internal")


def _say(folder):
  return float((folder / "number").read_text())


def _fill_memory(folder):
  return bytearray(2**33)


FAMILIES = {
    "sound": Family(_write, _reject("{} is damaged"), None),
    "tells": Family(_write, _reject("it is damaged"), None),
    "bare": Family(_write, _reject("{}: 'NoneType' object is not subscriptable"), None),
    "raises": Family(_write, _fail, None),
    "lies": Family(_write, _say, lambda found: require(False, f"found {found}")),
    "fine": Family(_write, _say, lambda found: require(0 <= found < 1, "a wrong number")),
    "dies": Family(_write, lambda folder: os.kill(os.getpid(), signal.SIGSEGV), None),
    "ends": Family(_write, lambda folder: os._exit(7), None),
    "hangs": Family(_write, lambda folder: time.sleep(60), None),
    "fills": Family(_write, _fill_memory, None)}
