"""Arrays of PyTorch's files, if PyTorch is installed; what may run code is refused."""

import pickle
import zipfile

from mnc_jax.weights.formats.lazy import READ_ERRORS, lazy_array

# Where training scripts keep the weights in a checkpoint.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."  # What DataParallel puts before each name.


def read_torch(path):
  """Returns `({name: Lazy}, metadata)` of the state dict at `path`, or in a checkpoint.

  Files are mapped into memory, so that only the arrays that are read are loaded; those of before
  PyTorch 1.6 cannot be, and are loaded at once. Entries that are no arrays go to the metadata.

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
  # Copied, because one array that looks into the mapped file keeps all of it in memory.
  return {name.removeprefix(_PARALLEL): lazy_array(
      path, name, value.shape, lambda value=value: value.detach().float().numpy().copy())
          for name, value in arrays.items()}, metadata


def _load(path):
  try:
    import torch
  except ImportError as error:
    raise ValueError(
        f"{path} is a file of PyTorch, which is not installed: pip install torch, or convert the "
        "file to .safetensors where it is") from error
  try:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
  except pickle.UnpicklingError as error:
    # PyTorch's own message advises to switch the check off.
    raise ValueError(f"{path} holds more than arrays (a whole module?), or is cut short. What is "
                     "no array may run any code, so it is not opened: save the module's "
                     "state_dict() with torch.save") from error
  except READ_ERRORS as error:
    # What its parsers run into, such as an index that is out of range, says nothing of the file.
    told = "" if isinstance(error, LookupError | AttributeError | TypeError) else f": {error}"
    raise ValueError(f"{path} cannot be read as a file of PyTorch, it is damaged "
                     f"({type(error).__name__}){told}".split("\n")[0]) from error
