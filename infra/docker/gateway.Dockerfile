# What needs no torch: the gateway, the migrations, the relay, the worker of the queue `sync` and the
# command line. A digest pins the base: --build-arg PYTHON_IMAGE=python:3.12.12-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/mmesid
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY infra infra
COPY experiments experiments
COPY benchmarks benchmarks
RUN /opt/mmesid/bin/pip install ".[s3]"

FROM ${PYTHON_IMAGE} AS gateway
# /cache is the one folder to write to besides /tmp: a volume of this name gets its owner.
RUN useradd --uid 10001 --home-dir /cache --create-home mmesid
COPY --from=build /opt/mmesid /opt/mmesid
ENV PATH=/opt/mmesid/bin:$PATH \
    HOME=/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    MMESID_SERVER__HOST=0.0.0.0 \
    MMESID_SERVER__PORT=8100
WORKDIR /cache
USER 10001:10001
EXPOSE 8100
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8100/health/ready')"]
CMD ["python", "-m", "services.gateway"]
