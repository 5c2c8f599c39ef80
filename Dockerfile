# The operator: Python, kopf, the Kubernetes client; nothing of the converter, no build tools, no package manager's
# caches. Build it from the root of the project with any OCI builder:
#
#   docker build -t model-conversion-operator:0.1.0 .
#
# For a release, pin the base by its digest: --build-arg BASE=debian:trixie-slim@sha256:...
# Behind a company's registry, hand in pip's configuration and the certificate authorities; both are build secrets
# and end up in no image: --secret id=pip.conf,src=/etc/pip.conf --secret id=ca.crt,src=...
ARG BASE=debian:trixie-slim

FROM ${BASE} AS python
# What apt leaves behind differs from build to build. Python's own modules are compiled anew, for Debian's are
# checked by the times of files, which a build that can be repeated sets to one and the same.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/ldconfig /var/cache/debconf/*-old /var/log/apt \
        /var/log/*.log /var/lib/dpkg/*-old \
    && python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.13 /usr/lib/python3 \
    && echo 'nonroot:x:65532:65532:nonroot:/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'nonroot:x:65532:' >> /etc/group

FROM python AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-venv
WORKDIR /src
COPY dev/build-requirements.txt operator/requirements.txt ./
# The root is read-only, so what is not compiled now is compiled at every start.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r build-requirements.txt \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --require-hashes \
        --no-deps -r requirements.txt \
    && echo /opt/app > /opt/venv/lib/python3.13/site-packages/app.pth \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib
COPY pyproject.toml ./
COPY operator operator
# The package names a README, whose words are for people with the sources.
RUN touch README.md \
    && /opt/build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /opt/wheel . \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-index --no-deps \
        --target /opt/app /opt/wheel/*.whl \
    && rm /opt/app/bin/tflite-converter \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/app

FROM python
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/app /opt/app
ENV PATH=/opt/app/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Model Conversion Operator" \
    org.opencontainers.image.description="Runs a converter Job for each ModelConversion" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["modelconversion-operator"]
