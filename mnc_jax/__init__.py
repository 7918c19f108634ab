"""Multi-task Network Cascades (Dai, He, Sun, CVPR 2016) in JAX and Flax."""
