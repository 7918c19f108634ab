"""The strict settings of the test session are in force."""

import warnings

import jax
import jax.numpy as jnp
import pytest


# Python hides deprecations outside of __main__ and unclosed files unless asked.
@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, ResourceWarning])
def test_warnings_are_errors(category):
  with pytest.raises(category, match="raised"):
    warnings.warn_explicit("raised", category, "any.py", 1)


def test_ranks_are_not_promoted():
  with pytest.raises(ValueError, match="jax_numpy_rank_promotion"):
    jnp.ones((2, 3)) + jnp.ones(3)


def test_reused_keys_are_errors():
  key = jax.random.key(0)
  jax.random.normal(key)
  with pytest.raises(jax.errors.KeyReuseError):
    jax.random.normal(key)
