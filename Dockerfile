# mnc_jax for NVIDIA GPUs:
#
#   docker build -t mnc_jax .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" mnc_jax \
#       predict --weights shapes --output out image.png
#
# From a plain Python image: the wheels of jax[cuda12] bring CUDA, cuDNN and NCCL in the versions that
# JAX was built with. Those of a CUDA image would lie beside them unused. The host needs a driver for
# CUDA 12 (525 or newer) and the NVIDIA container toolkit.
FROM python:3.11-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt \
      "mnc_jax[cuda] @ file://$(echo /tmp/wheels/*.whl)" \
    && rm -r /tmp/wheels /tmp/constraints.txt

# The folder that is mounted holds the data and the runs, and compiled programs in .cache. --user may
# be a number without a name, which some libraries ask for.
WORKDIR /work
ENV HOME=/work USER=mnc PYTHONUNBUFFERED=1
ENTRYPOINT ["mnc"]
