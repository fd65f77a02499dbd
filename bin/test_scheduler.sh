#!/usr/bin/env bash
# Runs the tests in a container. `bin/test_scheduler.sh --help` tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
missing() {
    echo "bin/test_scheduler.sh: $1; without Docker, bin/test runs the same tests on this machine" >&2
    exit 69
}
case "${1:-}" in
-h | --help)
    cat <<'HELP'
Examples:
  bin/test_scheduler.sh                            all tests
  bin/test_scheduler.sh tests/web -k personas      some of them

Builds the image's test stage and runs the tests in it, against the PostgreSQL that it holds. Arguments go to pytest.
HELP
    exit 0
    ;;
esac
command -v docker >/dev/null 2>&1 || missing "there is no docker command here"
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || missing "the Docker daemon does not answer"
docker build --target test --tag simfeed:test .
exec docker run --rm --shm-size 1g simfeed:test "$@"
