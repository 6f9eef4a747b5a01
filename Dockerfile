# Hearth in a container, with both agents beside it. See docs/backends.md.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ENV CGO_ENABLED=0
RUN go build -trimpath -ldflags="-s -w" -o /out/hearth ./cmd/hearth \
 && GOOS=linux GOARCH=amd64 go build -trimpath -ldflags="-s -w" -o /out/hearth-agent-linux-amd64 ./cmd/hearth-agent \
 && GOOS=linux GOARCH=arm64 go build -trimpath -ldflags="-s -w" -o /out/hearth-agent-linux-arm64 ./cmd/hearth-agent \
 && mkdir -p /out/data /out/tmp && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /
ENV HEARTH_LISTEN=0.0.0.0:9001 HEARTH_INSECURE=true HEARTH_DATA=/data HEARTH_BACKEND=docker
VOLUME /data
EXPOSE 9001
ENTRYPOINT ["/hearth", "serve"]
