FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# Nothing to install: SQLite and libpq are built from source with the gcc of this image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin batchshare && cp target/release/batchshare /batchshare

FROM debian:bookworm-slim
# A fixed number, so that secret files on the host can belong to it.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin batchshare
COPY --from=build /batchshare /usr/local/bin/batchshare
USER 10001
EXPOSE 8080
ENTRYPOINT ["batchshare"]
CMD ["serve"]
