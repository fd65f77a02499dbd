# Sim-Feed in a container: `bin/build_scheduler.sh` builds it, `bin/run_cluster.sh` runs it with its database.
# To pin a base by content, append its digest: python:3.11-slim-trixie@sha256:…
ARG PYTHON_VERSION=3.11

# The packages, in a venv of their own. The repository's layout is kept: the program finds migrations/ and sql/ beside app/.
FROM python:${PYTHON_VERSION}-slim-trixie AS builder
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/simfeed
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt ./
RUN mkdir app && touch app/__init__.py README.md \
    && pip install --no-cache-dir -c constraints.txt -e .

# `bin/test_scheduler.sh` runs the tests here. The embedded PostgreSQL serves them, so no other container is needed.
FROM builder AS test
RUN pip install --no-cache-dir -c constraints.txt -e ".[dev]" \
    && useradd --uid 10001 --no-log-init --create-home simfeed \
    && chown simfeed /srv/simfeed
COPY --chown=10001:10001 . .
USER 10001
ENTRYPOINT ["python", "-m", "pytest"]
CMD ["-n", "2", "--dist", "loadfile"]

FROM python:${PYTHON_VERSION}-slim-trixie AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sim-Feed" \
      org.opencontainers.image.description="A social network whose members are personas played by a language model." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIMFEED_HOME=/var/lib/simfeed
RUN groupadd --gid 10001 simfeed \
    && useradd --uid 10001 --gid simfeed --no-log-init --home-dir /var/lib/simfeed --create-home \
        --shell /usr/sbin/nologin simfeed
WORKDIR /srv/simfeed
COPY --from=builder /opt/venv /opt/venv
COPY alembic.ini ./
COPY sql sql
COPY migrations migrations
COPY app app
# The code belongs to root and is compiled here: the user that runs it can't change it, and starts need not compile.
RUN python -m compileall -q app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=3); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
CMD ["uvicorn", "--factory", "app.main:create_app", "--http", "app.web.server:BoundedHead", "--host", "0.0.0.0", "--port", "8000", "--no-server-header", "--no-access-log", "--no-proxy-headers", "--timeout-graceful-shutdown", "8"]
