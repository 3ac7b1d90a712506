# Trains on GPUs: docker build -f docker/train.Dockerfile -t mia-train . && docker run --gpus all --shm-size 32g -v RUNS:/runs mia-train ...
FROM nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04

# Archives of Debian and Ubuntu drop old versions, so a pin there would break the build; Python's own packages are pinned below.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv python3-dev git && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/train
ENV PATH=/opt/train/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 RAY_USAGE_STATS_ENABLED=0
COPY requirements/train.txt /tmp/train.txt
RUN pip install --no-cache-dir -r /tmp/train.txt
# flash-attn is built against the torch that is there, so it is a step of its own (about an hour): --build-arg FLASH=1
ARG FLASH=0
RUN if [ "$FLASH" = 1 ]; then pip install --no-cache-dir ninja==1.13.2 && pip install --no-cache-dir --no-build-isolation flash-attn==2.8.3; fi
COPY . /src
RUN pip install --no-cache-dir --no-deps /src/
WORKDIR /runs
ENTRYPOINT ["mia", "train"]
