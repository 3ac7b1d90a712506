# Serves a trained folder: docker build -f docker/serve.Dockerfile -t mia-serve . && docker run --gpus all -p 127.0.0.1:8000:8000 -v MODEL:/model mia-serve
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04

# Archives of Debian and Ubuntu drop old versions, so a pin there would break the build; Python's own packages are pinned below.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/serve
ENV PATH=/opt/serve/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
COPY requirements/serve.txt /tmp/serve.txt
RUN pip install --no-cache-dir -r /tmp/serve.txt
EXPOSE 8000
# Inside a container the service must listen on all of its interfaces; publish the port on 127.0.0.1 of the host.
ENTRYPOINT ["vllm", "serve", "/model", "--host", "0.0.0.0", "--port", "8000"]
