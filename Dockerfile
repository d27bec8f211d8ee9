# The sidecar. BASE can be any image with Python 3.11 or later; BUILD needs pip as well.
#
#   docker build -t dockercni .
#   docker run -d --name dockercni --restart unless-stopped \
#     --network host --pid host --userns host --cgroupns host \
#     --cap-drop ALL --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add NET_RAW --cap-add SYS_PTRACE \
#     --cap-add DAC_OVERRIDE --cap-add DAC_READ_SEARCH --cap-add KILL --cap-add FOWNER --cap-add CHOWN \
#     --security-opt apparmor=unconfined --security-opt label=disable --security-opt systempaths=unconfined \
#     -v /run:/run:rshared -v /etc/cni:/etc/cni -v /opt/cni/bin:/opt/cni/bin:ro \
#     -v /var/lib/cni:/var/lib/cni -v /var/lib/dockercni:/var/lib/dockercni dockercni
ARG BUILD=python:3.12-slim
ARG BASE=python:3.12-slim

FROM ${BUILD} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY dockercni dockercni
RUN python3 -m venv --copies /opt/dockercni && /opt/dockercni/bin/pip install --no-cache-dir .

FROM ${BASE}
LABEL org.opencontainers.image.title="dockercni" \
      org.opencontainers.image.description="CNI networking for plain Docker" \
      org.opencontainers.image.licenses="Apache-2.0"
# iptables and nftables: what plugins call, in the host's network namespace.
RUN command -v iptables >/dev/null || { apt-get update && apt-get install -y --no-install-recommends \
    iptables nftables containernetworking-plugins && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /opt/dockercni /opt/dockercni
ENTRYPOINT ["/opt/dockercni/bin/dockercni"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["/opt/dockercni/bin/dockercni", "status", "--probe"]
CMD ["daemon"]
