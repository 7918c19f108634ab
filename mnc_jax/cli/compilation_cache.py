"""Where commands keep compiled programs, so that the next start does not compile them again."""

import contextlib
import os
import pathlib
import sys
import tempfile
from typing import Any

# Of all programs together. A prediction of a small model takes 0.3 MB, a large training step 38 MB.
MAX_BYTES = 2_000_000_000


def keep_compiled_programs() -> None:
  """Turns JAX's persistent compilation cache on, in `folder_of_programs`, unless it is configured.

  It is configured by JAX_COMPILATION_CACHE_DIR, which turns it off if empty, and
  JAX_ENABLE_COMPILATION_CACHE; both are JAX's own. JAX keeps what took at least a second to
  compile. A new folder is reported on stderr, and so is one that cannot be written; nothing is
  kept then.

  Processes may share the folder. Only the first process of a run writes (`_cache_write` in
  jax/_src/compiler.py). Entries are not written atomically (`put` in jax/_src/lru_cache.py), but
  they have a checksum: one that is half written is a warning, and the program is compiled.
  """
  import jax  # Only here: --help and mistakes must not wait for it.
  settings: Any = jax.config  # Its attributes are made at import.
  if settings.jax_compilation_cache_dir == "":
    # JAX would still make the folder of its GPU autotuner, in the working directory.
    jax.config.update("jax_compilation_cache_dir", None)
    return
  if settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache:
    return
  try:
    folder = folder_of_programs()
    is_new = not folder.exists()
    # Whoever may write there decides what this user runs.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_oldest(folder, max_bytes=MAX_BYTES)
    _check_writable(folder)
  except (OSError, RuntimeError) as error:
    print(f"Compiled programs are not kept, so every start compiles them: {error} "
          "(JAX_COMPILATION_CACHE_DIR=DIR names another folder)", file=sys.stderr)
    return
  if is_new:
    print(f"Compiled programs are kept in {folder}, so that the next start is faster.",
          file=sys.stderr)
  jax.config.update("jax_compilation_cache_dir", str(folder))


def folder_of_programs() -> pathlib.Path:
  """Returns $XDG_CACHE_HOME/mnc_jax/compiled, by default in ~/.cache.

  Raises:
    RuntimeError: if there is no home directory.
  """
  # Relative paths are invalid and ignored: XDG Base Directory Specification 0.8.
  base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
  return (base if base.is_absolute() else pathlib.Path.home() / ".cache") / "mnc_jax" / "compiled"


def remove_oldest(folder: pathlib.Path, *, max_bytes: int) -> None:
  """Removes the programs that were not used for the longest time, until the others fit.

  Not by `jax_compilation_cache_max_size`, which needs the package filelock, and in which a process
  killed at the wrong moment ends all writing (jax-ml/jax issue 39880).

  Args:
    folder: whose files `*-cache` are programs.
    max_bytes: of all of them.
  """
  entries = []
  for path in folder.glob("*-cache"):
    with contextlib.suppress(FileNotFoundError):  # Another process removes them too.
      status = path.stat()
      # Where a file system does not note when files are read, the oldest go.
      entries.append((max(status.st_atime, status.st_mtime), status.st_size, path))
  size = sum(entry[1] for entry in entries)
  for _, entry_size, path in sorted(entries):
    if size <= max_bytes:
      break
    path.unlink(missing_ok=True)
    size -= entry_size


def _check_writable(folder):
  """Raises OSError if files cannot be written in the folder, or its disk is full."""
  with tempfile.TemporaryFile(dir=folder) as file:
    file.write(bytes(1 << 20))
