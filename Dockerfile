# syntax=docker/dockerfile:1
# Two images of one locked set of dependencies: `--target operator` and `--target runtime`; `--target sbom` is the
# bill of materials of each, without either: docker build --target sbom --output type=local,dest=. .
# Pin the base by digest where a registry is asked: --build-arg BASE_IMAGE=python:3.12-slim-bookworm@sha256:...
# Any Debian 12 with python3 (3.11 or later) and python3-venv will do.
ARG BASE_IMAGE=python:3.12-slim-bookworm

# What turns the lock into lists of exact versions with hashes, and the source into a wheel.
FROM ${BASE_IMAGE} AS tools
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/var/cache/pip \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet uv==0.13.9 hatchling==1.33.0

FROM tools AS lists
WORKDIR /source
COPY pyproject.toml uv.lock ./
RUN /opt/tools/bin/uv export --quiet --frozen --no-dev --no-emit-project --output-file operator.txt \
    && /opt/tools/bin/uv export --quiet --frozen --no-dev --no-emit-project --output-file runtime.txt \
       --extra runtime --extra otel --prune kopf --prune kubernetes --prune prometheus-api-client --prune aiohttp

# CycloneDX, from the lock that the images are installed from.
FROM lists AS bills
RUN /opt/tools/bin/uv export --quiet --frozen --no-dev --no-emit-project --format cyclonedx1.5 \
       --output-file operator.cdx.json \
    && /opt/tools/bin/uv export --quiet --frozen --no-dev --no-emit-project --format cyclonedx1.5 \
       --extra runtime --extra otel --prune kopf --prune kubernetes --prune prometheus-api-client --prune aiohttp \
       --output-file runtime.cdx.json

FROM scratch AS sbom
COPY --from=bills /source/operator.cdx.json /source/runtime.cdx.json /

# Dependencies are layers of their own: a change of code installs nothing again.
FROM lists AS operator-dependencies
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/var/cache/pip \
    python3 -m venv --without-pip /opt/modelramp \
    && /opt/tools/bin/pip --python /opt/modelramp/bin/python install --quiet \
       --no-deps --require-hashes --only-binary :all: --requirement operator.txt \
    && find /opt/modelramp/lib -depth -type d \( -name tests -o -name test \) -exec rm -rf {} + \
    && find /opt/modelramp/lib -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' \) -delete

FROM lists AS runtime-dependencies
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    --mount=type=cache,target=/var/cache/pip \
    python3 -m venv --without-pip /opt/modelramp \
    && /opt/tools/bin/pip --python /opt/modelramp/bin/python install --quiet \
       --no-deps --require-hashes --only-binary :all: --requirement runtime.txt \
    && find /opt/modelramp/lib -depth -type d \( -name tests -o -name test \) -exec rm -rf {} + \
    && find /opt/modelramp/lib -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' \) -delete

# The code, compiled, as it goes over the dependencies; each image gets its own package only.
FROM tools AS code
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN python3 -m venv --without-pip /opt/modelramp \
    && /opt/tools/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && for image in operator runtime; do \
         /opt/tools/bin/pip --python /opt/modelramp/bin/python install --quiet \
         --no-index --no-deps --prefix "/code/$image" /wheels/*.whl || exit 1; \
       done \
    && rm -rf /code/operator/lib/python3*/site-packages/modelramp_runtime \
              /code/runtime/lib/python3*/site-packages/modelramp \
              /code/runtime/bin

FROM ${BASE_IMAGE} AS final
ENV PATH=/opt/modelramp/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080

FROM final AS runtime
COPY --from=runtime-dependencies /opt/modelramp /opt/modelramp
COPY --from=code /code/runtime /opt/modelramp
ENTRYPOINT ["python", "-m", "modelramp_runtime"]

FROM final AS operator
COPY --from=operator-dependencies /opt/modelramp /opt/modelramp
COPY --from=code /code/operator /opt/modelramp
ENTRYPOINT ["modelramp", "run"]
