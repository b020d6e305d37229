# The gateway and the migrations: no torch in this image.
FROM python:3.12-slim
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY infra infra
COPY experiments experiments
COPY benchmarks benchmarks
RUN pip install --no-cache-dir . \
    && useradd --system --uid 10001 mmesid \
    && install --directory --owner=mmesid /data
USER 10001
ENV MMESID_SERVER__HOST=0.0.0.0
EXPOSE 8100
CMD ["python", "-m", "services.gateway"]
