FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# SQLite and libpq are built from source with the gcc of this image; only OpenSSL is the system's.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --features tls --bin batchshare && cp target/release/batchshare /batchshare

FROM debian:bookworm-slim
# For amqps:// and sslmode=require. broker.ca_file, and sslrootcert in database.url, add authorities of your own.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl3 ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# A fixed number, so that secret files on the host can belong to it.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin batchshare
COPY --from=build /batchshare /usr/local/bin/batchshare
USER 10001
EXPOSE 8080
ENTRYPOINT ["batchshare"]
CMD ["serve"]
