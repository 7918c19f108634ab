"""Multi-task Network Cascades in JAX."""
