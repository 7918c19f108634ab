"""Files that grow: on a disk by appending, in cloud storage by writing them again as a whole."""

from collections.abc import Iterable
import io
import math
import pathlib
import re
import time

from mnc_jax.config.paths import is_remote

# Cloud storage gets each file so often, unless a save or the end of the run asks for it,
_SECONDS = 60.0
# and, of a file in parts, the rest of the log in another one.
_PART_BYTES = 4 * 2**20


class DiskFile:
  """A file with a known end; what cannot be written behind it waits in memory."""

  def __init__(self, path: pathlib.Path | None):
    """Opens a file; without a path nothing is written or kept."""
    self.path, self._end, self._waiting = path, math.inf, bytearray()

  def cut(self, step: int, name: str) -> None:
    """Moves the end before the first line of `step` or later that has `name`, or is cut off."""
    if self.path and self.path.exists():
      with self.path.open("rb") as file:
        self._end = min(_find_end(file, step, name), self._end)

  def add(self, content: bytes) -> None:
    """Adds what must not be torn apart."""
    if self.path:
      self._waiting += content

  def flush(self, *, now: bool) -> None:
    """Writes what was added."""
    del now  # It costs nothing.
    if not self.path:
      return
    self.path.parent.mkdir(parents=True, exist_ok=True)
    with self.path.open("ab") as file:
      # Before the first write too, of which a full disk may take a part.
      self._end = int(min(self._end, file.tell()))
      file.truncate(self._end)
      file.write(self._waiting)
      end = file.tell()
    self._end, self._waiting = end, bytearray()


class CloudFile:
  """A file whose content stays in memory, so that nothing is read back to be written again."""

  def __init__(self, path: pathlib.Path, *, header: bytes | None):
    """Opens a file, with the content that it has.

    Args:
      path: in cloud storage.
      header: of each part, if large files go on in another one.
    """
    self.path, self._header, self._parts = path, header, 0
    self._content = bytearray(path.read_bytes() if path.exists() else b"")
    self._changed, self._next = False, -math.inf

  def cut(self, step: int, name: str) -> None:
    """Cuts the content off as `DiskFile.cut`."""
    del self._content[_find_end(io.BytesIO(self._content), step, name):]
    self._changed = True

  def add(self, content: bytes) -> None:
    """Adds what must not be torn apart."""
    self._content += content
    self._changed = True

  def flush(self, *, now: bool) -> None:
    """Writes all, `now` or if the last time, failed or not, is a minute ago."""
    if not self._changed or not now and time.monotonic() < self._next:
      return
    self._next = time.monotonic() + _SECONDS
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self.path.write_bytes(bytes(self._content))
    self._changed = False
    if self._header is not None and len(self._content) > _PART_BYTES:
      self._parts += 1
      # TensorBoard reads files in the order of their names.
      self.path = self.path.with_name(f"{self.path.name.split('.part')[0]}.part{self._parts:04}")
      self._content = bytearray(self._header)


def open_file(path: pathlib.Path | None, *, header: bytes | None = None) -> DiskFile | CloudFile:
  """Opens a file of the log. With a `header`, large ones in cloud storage go on in another file."""
  file = CloudFile(path, header=header) if path and is_remote(path) else DiskFile(path)
  if header:
    file.add(header)
  return file


def _find_end(lines: Iterable[bytes], step: int, name: str) -> int:
  """Returns where the first line of `step` or later that has `name` begins, or one is cut off."""
  end = 0
  for line in lines:
    found = re.match(rb'{"step": (\d+)', line)
    lost = found and int(found[1]) >= step and name.encode() in line
    if lost or not line.endswith(b"\n"):
      break
    end += len(line)
  return end
