# The operator's image: the binary `agentpool`, as the user that the chart runs it as.
FROM rust:1.91-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --locked --release --package agentpool --bin agentpool

# glibc and libgcc, to which the binary is linked, of the same Debian.
FROM debian:bookworm-slim
COPY --from=build /source/target/release/agentpool /usr/local/bin/agentpool
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/agentpool"]
