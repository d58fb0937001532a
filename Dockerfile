# Every package is a wheel with version and hash, so nothing is compiled.
FROM python:3.13-slim AS build
WORKDIR /build
# EXTRA=otel adds OpenTelemetry, which INGEST_TRACING needs.
ARG EXTRA=
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/ingest
COPY requirements.lock requirements-otel.lock requirements-build.lock ./
RUN tools/bin/pip --python /opt/ingest/bin/python install --no-cache-dir --only-binary :all: \
        --require-hashes --no-deps -r requirements.lock ${EXTRA:+-r requirements-$EXTRA.lock} \
    && tools/bin/pip install --no-cache-dir --only-binary :all: \
        --require-hashes --no-deps -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY ingest ingest
COPY sql sql
COPY docs/runbooks.md docs/runbooks.md
RUN tools/bin/pip wheel --no-build-isolation --no-deps --no-index --wheel-dir dist . \
    && tools/bin/pip --python /opt/ingest/bin/python install --no-index --no-deps dist/*.whl

FROM python:3.13-slim
# The release workflow adds the version, the commit, its time and its source.
LABEL org.opencontainers.image.title="call-events-ingest" \
      org.opencontainers.image.description="Call events from telephony servers: durable in MySQL, published to RabbitMQ" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.authors="The Call Events Service authors" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"
COPY --from=build /opt/ingest /opt/ingest
# The service writes only to this folder: locks, id slots, metrics, the spool; events in embedded mode.
RUN install -d -o 10001 -g 10001 -m 0700 /data
ENV PATH=/opt/ingest/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    INGEST_DATA_DIR=/data \
    INGEST_DATABASE_URL=sqlite:////data/call-events.db
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
# The check asks for liveness, not readiness, as a restart of the container cannot repair a database.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["ingest", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["ingest"]
CMD ["serve"]
