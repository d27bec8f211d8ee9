# The sidecar. compose.yaml says how it is run, and why it needs what it gets.
#
#   docker compose up --detach --build          (or docker-compose, or docker build and the options of compose.yaml)
#
# BUILD is an image with Python 3.11 or later, venv and pip; BASE one with the same Python, and iptables, nftables and
# CNI plugins, or apt-get to install these. Where no package index can be reached, a directory wheels in the context
# serves (pip download -d wheels . hatchling), with --build-arg PIP_NO_INDEX=1.
ARG BUILD=python:3.12-slim
ARG BASE=python:3.12-slim

FROM ${BUILD} AS build
ARG PIP_NO_INDEX
WORKDIR /src
COPY LICENSE wheels* /wheels/
COPY pyproject.toml README.md LICENSE ./
COPY dockercni dockercni
RUN python3 -m venv /opt/dockercni \
    && /opt/dockercni/bin/pip install --no-cache-dir --find-links /wheels . \
    && /opt/dockercni/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
ARG VERSION=unknown
LABEL org.opencontainers.image.title="dockercni" \
      org.opencontainers.image.description="CNI networking for plain Docker" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# What plugins call, in the host's network namespace.
RUN command -v iptables >/dev/null && command -v nft >/dev/null || { apt-get update && apt-get install -y \
    --no-install-recommends iptables nftables containernetworking-plugins && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /opt/dockercni /opt/dockercni
# Docker mounts /proc/sys read-only, and plugins set sysctls.
RUN printf '#!/bin/sh\nmount -o remount,bind,rw /proc/sys\nexec /opt/dockercni/bin/dockercni "$@"\n' >/usr/local/bin/dockercni \
    && chmod 755 /usr/local/bin/dockercni
ENTRYPOINT ["/usr/local/bin/dockercni"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["/opt/dockercni/bin/dockercni", "status", "--probe"]
CMD ["daemon"]
