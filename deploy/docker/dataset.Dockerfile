# The dataset service and its workers: recordings in, segments with transcripts out.
# Build it in the folder above deploy/: docker build -f deploy/docker/dataset.Dockerfile -t timbre/dataset:0.1.0 .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY requirements.lock pyproject.toml ./
RUN python -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --constraint requirements.lock uv grpcio-tools hatchling
# every version is the lock's; what changes rarely comes first
RUN python -m venv --without-pip /opt/timbre \
    && /tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/timbre/bin/python \
       --constraints requirements.lock --group dataset
COPY protos protos
RUN mkdir gen && find protos -name '*.proto' -exec /tools/bin/python -m grpc_tools.protoc -I protos \
    --python_out=gen --grpc_python_out=gen {} +
COPY README.md ./
COPY timbre timbre
COPY services/__init__.py services/scopes.py services/
COPY services/runtime services/runtime
COPY services/dataset services/dataset
RUN /tools/bin/hatchling build -t wheel -d dist \
    && /tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/timbre/bin/python --no-deps dist/*.whl

FROM ${BASE}
RUN install -d -o 10001 -g 10001 /data /cache
COPY --from=build /opt/timbre /opt/timbre
ENV PATH=/opt/timbre/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp USER=timbre TIMBRE_DATA_DIR=/data TIMBRE_CACHE_DIR=/cache
WORKDIR /data
USER 10001:10001
EXPOSE 50051
CMD ["python", "-m", "services.dataset"]
