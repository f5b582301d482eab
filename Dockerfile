# openbell as a container: docs/operations.md. The state of a run on SQLite is in /var/lib/openbell,
# its configuration is /etc/openbell/config.yaml.

FROM python:3.12-slim AS build
WORKDIR /src
COPY . /src
RUN python -m venv /opt/openbell
RUN /opt/openbell/bin/pip install --no-cache-dir --disable-pip-version-check '/src[redis,websocket,webhook,apprise,metrics]'
RUN /opt/openbell/bin/python -m compileall -q /opt/openbell/lib

FROM python:3.12-slim
RUN useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/openbell openbell
COPY --from=build /opt/openbell /opt/openbell
ENV PATH=/opt/openbell/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/openbell
VOLUME /var/lib/openbell
EXPOSE 8700
# Of `web.enabled`; a standby is in order too.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s --retries=3 \
    CMD ["openbell", "health", "--config", "/etc/openbell/config.yaml"]
# A signal that comes before Python can take it waits: as the first process of a container it would
# be dropped.
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=HUP", "openbell"]
CMD ["run", "--config", "/etc/openbell/config.yaml"]
