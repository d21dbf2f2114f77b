# The image: the release binary on a slim Debian, not as root. Needs BuildKit (Docker 23 and later, podman, buildah).
#
#   docker build -t hedgerow .
#   docker run -p 8080:8080 -v ./conf:/etc/hedgerow:ro --stop-timeout 15 hedgerow
#
# The stop timeout is longer than `grace_period` (10 s), or the engine kills what is still being finished.

# One release for both stages, so that the binary finds the C library it was linked against.
ARG DEBIAN=bookworm

# The compiler that the profile in benches/pgo is of: for another one it fits nothing.
FROM rust:1.95.0-${DEBIAN} AS build
# pingora's zlib-ng is built by cmake.
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The caches keep crates and objects between builds; they are no part of the stage, so the binary is taken out.
# Names of functions stay for backtraces, line numbers go: they are most of the file.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin hedgerow \
 && strip --strip-debug -o /usr/local/bin/hedgerow target/release/hedgerow

FROM debian:${DEBIAN}-slim
# Authorities for TLS to backends.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/hedgerow /usr/local/bin/hedgerow
# The default config, until yours is mounted over it.
COPY conf/hedgerow.toml /etc/hedgerow/hedgerow.toml
# A number, so that an orchestrator can see it is not root. Ports below 1024 may need a sysctl or a mapping.
USER 10001:10001
EXPOSE 8080
# The admin listener is on the container's loopback, out of reach from outside; a slim image has no HTTP client to ask
# it with. A config that moves `admin` overrides this check with `--admin`.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["hedgerow", "healthcheck"]
ENTRYPOINT ["hedgerow"]
CMD ["run", "--config", "/etc/hedgerow"]
