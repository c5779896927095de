# docker build --build-arg BASE=python:3.13-slim-bookworm -t sidecar .
#
# BASE must carry Python 3.11 to 3.14 with `venv`, on glibc (wheels exist for x86-64 and arm64). Both stages use the
# same one, since a virtual environment points at the interpreter it was made with.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /source
RUN python3 -m venv /opt/sidecar
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
# Wheels only: a package that would have to be compiled fails here rather than pull a compiler in. The byte code is
# written now because the final root file system may be read-only, and pip itself is left behind.
RUN /opt/sidecar/bin/python -m pip wheel --no-deps --wheel-dir /wheels . \
 && /opt/sidecar/bin/python -m pip install --only-binary :all: /wheels/*.whl \
 && /opt/sidecar/bin/python -m pip uninstall --yes pip setuptools \
 && /opt/sidecar/bin/python -m compileall -q /opt/sidecar/lib

FROM ${BASE}
# For `sidecar intercept`, which the init container of an injected pod runs.
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends nftables \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
COPY --from=build /opt/sidecar /opt/sidecar
ENV PATH=/opt/sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SIDECAR_JOURNAL=/var/lib/sidecar/journal \
    SIDECAR_STORE=/var/lib/sidecar/records \
    SIDECAR_HEALTH=0.0.0.0:9900
# A number, so that Kubernetes can check runAsNonRoot. Everything is written below /var/lib/sidecar: mount a volume
# there, and the root file system can be read-only.
RUN mkdir -p /var/lib/sidecar && chown 65532:65532 /var/lib/sidecar
USER 65532:65532
WORKDIR /var/lib/sidecar
VOLUME /var/lib/sidecar
EXPOSE 8080 9900 9901
# SIGTERM drains; the default grace (25s) and shipping (10s) want `docker stop --time 40`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/opt/sidecar/bin/python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 9900, timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["sidecar", "run"]
