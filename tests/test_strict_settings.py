"""The settings under which the whole suite runs are in force: a slip in any of them raises."""

import warnings

import jax
import jax.numpy as jnp
import pytest


def test_a_warning_is_an_error():
  with pytest.raises(UserWarning, match="looked over"):
    warnings.warn("looked over", stacklevel=1)


def test_a_deprecated_call_is_an_error():
  # Python hides these outside of __main__ unless told otherwise.
  with pytest.raises(DeprecationWarning, match="old"):
    warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_an_unclosed_file_is_an_error(tmp_path):
  with pytest.raises(ResourceWarning, match="unclosed"):
    warnings.warn_explicit(f"unclosed file {tmp_path}", ResourceWarning, "any.py", 1)


def test_ranks_are_not_promoted():
  with pytest.raises(ValueError, match="jax_numpy_rank_promotion"):
    jnp.ones((2, 3)) + jnp.ones(3)


def test_a_key_is_not_used_twice():
  key = jax.random.key(0)
  jax.random.normal(key)
  with pytest.raises(jax.errors.KeyReuseError):
    jax.random.normal(key)
