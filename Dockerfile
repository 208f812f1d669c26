# docker build -t lmbroker . ; docs/operations.md tells how to run it.
FROM python:3.13-slim AS build
WORKDIR /src
# First what changes least. Nothing is installed whose hash is not in a lock file (make lock).
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/lmbroker \
    && /opt/lmbroker/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements.lock
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY lmbroker lmbroker
COPY twisted twisted
RUN /opt/build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation \
        --wheel-dir /opt/build/wheels . \
    && /opt/lmbroker/bin/pip install --no-cache-dir --no-index --no-deps /opt/build/wheels/*.whl
# twistd keeps a list of its plugins beside them, where the user below may not write.
RUN /opt/lmbroker/bin/twistd --help > /dev/null

FROM python:3.13-slim
COPY --from=build /opt/lmbroker /opt/lmbroker
ENV PATH=/opt/lmbroker/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
STOPSIGNAL SIGTERM
# No shell in between: twistd is process 1, and signals reach it.
ENTRYPOINT ["twistd", "-n", "--pidfile=", "lmbroker"]
CMD ["--config", "/etc/lmbroker/config.toml"]
