# One image for each program, chosen by the target:
#   docker build --target collector -t hubwarden/collector:0.1.0 .
# Targets: collector, normalizer, detector, console, cli, simulator.
# An image holds the program, the libraries it links, certificates, an example configuration and
# its SBOM: no shell, no package manager, nothing that root owns and others may write.

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential ca-certificates libssl-dev pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
RUN cargo install cargo-cyclonedx --version 0.5.9 --locked
WORKDIR /src
COPY . .
# Which programs are built; one is enough when only its target is wanted.
ARG PROGRAMS="hubwarden-collector hubwarden-normalizer hubwarden-detector hubwarden-console hubwarden-simulator hubwarden"
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    scripts/image-build.sh /out $PROGRAMS

FROM scratch AS collector
COPY --from=build /out/hubwarden-collector /
COPY --from=build --chown=65532:65532 /out/data /var/lib/
WORKDIR /var/lib/hubwarden
USER 65532:65532
EXPOSE 7475 7476
ENTRYPOINT ["/usr/local/bin/hubwarden-collector"]
CMD ["--config", "/etc/hubwarden/collector.toml"]

FROM scratch AS normalizer
COPY --from=build /out/hubwarden-normalizer /
COPY --from=build --chown=65532:65532 /out/data /var/lib/
WORKDIR /var/lib/hubwarden
USER 65532:65532
EXPOSE 7475 7476
ENTRYPOINT ["/usr/local/bin/hubwarden-normalizer"]
CMD ["--config", "/etc/hubwarden/normalizer.toml"]

FROM scratch AS detector
COPY --from=build /out/hubwarden-detector /
COPY --from=build --chown=65532:65532 /out/data /var/lib/
WORKDIR /var/lib/hubwarden
USER 65532:65532
EXPOSE 7475 7476
ENTRYPOINT ["/usr/local/bin/hubwarden-detector"]
CMD ["--config", "/etc/hubwarden/detector.toml"]

FROM scratch AS console
COPY --from=build /out/hubwarden-console /
COPY --from=build --chown=65532:65532 /out/data /var/lib/
WORKDIR /var/lib/hubwarden
USER 65532:65532
EXPOSE 7474 7475 7476
ENTRYPOINT ["/usr/local/bin/hubwarden-console"]
CMD ["--config", "/etc/hubwarden/console.toml"]

FROM scratch AS simulator
COPY --from=build /out/hubwarden-simulator /
COPY --from=build --chown=65532:65532 /out/data /var/lib/
WORKDIR /var/lib/hubwarden
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/hubwarden-simulator"]

FROM scratch AS cli
COPY --from=build /out/hubwarden /
COPY --from=build --chown=65532:65532 /out/data /var/lib/
WORKDIR /var/lib/hubwarden
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/hubwarden"]
CMD ["--help"]
