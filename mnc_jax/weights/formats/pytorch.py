"""Arrays of PyTorch's files, if PyTorch is installed; files that may run code are rejected."""

import pathlib
import pickle
import zipfile

from mnc_jax.weights.formats.lazy import READ_ERRORS, Lazy, lazy_array

# Where training scripts keep the weights in a checkpoint.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."  # DataParallel's prefix of each name.


def read_torch(path: pathlib.Path) -> tuple[dict[str, Lazy], dict[str, str]]:
  """Returns `({name: Lazy}, metadata)` of the state dict at `path`, or in a checkpoint.

  Files are mapped into memory, so that only the arrays that are read are loaded; those from before
  PyTorch 1.6 cannot be, and are loaded at once. Entries that are not arrays become metadata.

  Raises:
    ValueError: if PyTorch is not installed, the file is damaged, or holds more than arrays and
      plain values.
  """
  content = _load(path)
  wrapper = next((name for name in _WRAPPERS if isinstance(content, dict)
                  and isinstance(content.get(name), dict)), None)
  state = content[wrapper] if wrapper else content
  if not isinstance(state, dict):
    raise ValueError(f"{path} holds one {type(state).__name__}, not a state dict of named arrays: "
                     "save the module's state_dict() with torch.save")
  arrays = {name: value for name, value in state.items()
            if isinstance(name, str) and hasattr(value, "detach")}
  metadata = {str(name): str(value)[:80] for name, value in state.items() if name not in arrays}
  # Copied, because one view of the mapped file keeps all of it in memory.
  return {name.removeprefix(_PARALLEL): lazy_array(
      path, name, value.shape, lambda value=value: value.detach().float().numpy().copy())
          for name, value in arrays.items()}, metadata


def _load(path):
  try:
    import torch  # pyright: ignore[reportMissingImports]  Not a dependency.
  except ImportError as error:
    raise ValueError(
        f"{path} is a PyTorch file, but PyTorch is not installed: pip install torch, or convert "
        "the file to .safetensors where PyTorch is installed") from error
  try:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
  except pickle.UnpicklingError as error:
    # PyTorch's own message advises to switch the check off.
    raise ValueError(f"{path} holds more than arrays (a whole module?), or is truncated. Other "
                     "objects may run any code, so it is not opened: save the module's "
                     "state_dict() with torch.save") from error
  except READ_ERRORS as error:
    # Errors inside its parsers, such as an index out of range, do not describe the file.
    reason = "" if isinstance(error, LookupError | AttributeError | TypeError) else f": {error}"
    raise ValueError(f"{path} cannot be read as a PyTorch file, it is damaged "
                     f"({type(error).__name__}){reason}".split("\n")[0]) from error
