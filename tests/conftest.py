"""What all tests share: four fake devices, quick compilation, strict JAX settings, references."""

import gc
import importlib.metadata
import os
import pathlib

if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  # Must be set before jax is imported. Nearly all the time of the tests is compilation, which
  # takes half as long without LLVM's optimisation, and two thirds of that without the fusion
  # emitters, which JAX 0.11 always uses. A program is not split into parts that LLVM compiles in
  # parallel: other tests occupy the other core.
  flags = ["--xla_force_host_platform_device_count=4", "--xla_backend_optimization_level=0"]
  if importlib.metadata.version("jaxlib").startswith("0.10."):
    flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
  os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  # Commands that tests run must not write to the home directory.
  os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")

import jax
import pytest

jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


# Tracing makes millions of objects that live until the program is compiled; searching them for
# cycles every 700 objects, as is the default, took a twelfth of the time of the tests.
gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def shared_dir():
  """The folder of reference data: $MNC_SHARED, else `shared` beside the checkout."""
  beside = pathlib.Path(__file__).resolve().parents[2] / "shared"
  folder = pathlib.Path(os.environ.get("MNC_SHARED", beside))
  if not folder.is_dir():
    pytest.skip("no reference data: set MNC_SHARED, or put `shared` beside the checkout")
  return folder


@pytest.fixture
def own_registry(monkeypatch):
  """Forgets at the end what a test registered, a backbone, loss or reader."""
  from mnc_jax.config import extensions
  monkeypatch.setattr(extensions, "_ADDED", {field: {} for field in extensions._ADDED})


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
  """Gives back what a file of tests compiled; together they would fill gigabytes."""
  yield
  jax.clear_caches()
