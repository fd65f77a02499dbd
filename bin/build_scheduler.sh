#!/usr/bin/env bash
# Builds the container image. `bin/build_scheduler.sh --help` tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
missing() {
    echo "bin/build_scheduler.sh: $1; without Docker, bin/up runs Sim-Feed on this machine" >&2
    exit 69
}
case "${1:-}" in
-h | --help)
    cat <<'HELP'
Examples:
  bin/build_scheduler.sh                           builds simfeed:latest
  bin/build_scheduler.sh registry.example/simfeed:1.2
  PYTHON_VERSION=3.12 bin/build_scheduler.sh simfeed:py312

Builds the image that serves Sim-Feed and its scheduler, under the tag that is given. It holds no secrets.
HELP
    exit 0
    ;;
-*)
    echo "bin/build_scheduler.sh: unknown option $1 (see --help)" >&2
    exit 2
    ;;
esac
command -v docker >/dev/null 2>&1 || missing "there is no docker command here"
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || missing "the Docker daemon does not answer"
tag="${1:-simfeed:latest}"
revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)"
docker build --target runtime --tag "$tag" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    ${PYTHON_VERSION:+--build-arg "PYTHON_VERSION=$PYTHON_VERSION"} .
echo "built $tag" >&2
