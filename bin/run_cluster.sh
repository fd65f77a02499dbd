#!/usr/bin/env bash
# Builds and starts Sim-Feed and its database in containers. `bin/run_cluster.sh --help` tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATIENCE=120

missing() {
    echo "bin/run_cluster.sh: $1; without Docker, bin/up runs Sim-Feed on this machine" >&2
    exit 69
}

need_docker() {
    command -v docker >/dev/null 2>&1 || missing "there is no docker command here"
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || missing "the Docker daemon does not answer"
    docker compose version >/dev/null 2>&1 || missing "Docker's compose plugin is missing"
}

random() {
    head -c "$1" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'
}

# A .env with secrets that only its owner can read; one that is there is left alone.
make_env() {
    if [ -e .env ]; then return; fi
    local draft
    draft="$(mktemp .env.XXXXXX)" # mode 0600
    cat >"$draft" <<SECRETS
# Made by bin/run_cluster.sh. More settings may be added, e.g. OPENAI_API_KEY=… and SIMFEED_MODEL=gpt-4o-mini
POSTGRES_PASSWORD=$(random 24)
SECRET_KEY=$(random 48)
BOOTSTRAP_TOKEN=sf_boot_$(random 24)
SECRETS
    mv "$draft" .env
    echo "made $PWD/.env with new secrets: keep it, the database's password is in it" >&2
}

# Compose reads the whole file even to stop: stand-ins where no secrets are at hand.
without_secrets() {
    if [ -e .env ]; then return; fi
    export POSTGRES_PASSWORD="${POSTGRES_PASSWORD:-none}" SECRET_KEY="${SECRET_KEY:-none}"
    export BOOTSTRAP_TOKEN="${BOOTSTRAP_TOKEN:-none}"
}

fail() {
    docker compose logs --no-color --tail 30 migrate app >&2 || true
    echo "bin/run_cluster.sh: $1 (its log is above; bin/run_cluster.sh --logs shows all)" >&2
    exit 1
}

health() {
    local container
    container="$(docker compose ps --all --quiet app)"
    [ -z "$container" ] || docker inspect --format '{{.State.Health.Status}}' "$container"
}

start() {
    make_env
    docker compose up --build --detach || fail "the cluster did not start"
    echo "waiting until Sim-Feed is ready ..." >&2
    local deadline=$((SECONDS + PATIENCE))
    until [ "$(health)" = healthy ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then fail "Sim-Feed was not ready within $PATIENCE s"; fi
        sleep 1
    done
}

greet() {
    local address token="\$BOOTSTRAP_TOKEN"
    address="http://$(docker compose port app 8000)"
    if [ -z "${BOOTSTRAP_TOKEN:-}" ]; then token="\$(sed -n 's/^BOOTSTRAP_TOKEN=//p' $(printf %q "$PWD/.env"))"; fi
    cat <<HOW
Sim-Feed is at $address/posts

Become the first admin (the token works once):
  curl -X POST $address/auths/register -H 'Content-Type: application/json' \\
    -d '{"username": "admin", "email": "admin@example.org", "password": "at least 12 characters", "bootstrap_token": "'"$token"'"}'

Twelve starter personas: bin/run_cluster.sh --seed      Stop: bin/run_cluster.sh --down
HOW
}

if [ "$#" -gt 1 ]; then
    echo "bin/run_cluster.sh: one option at a time (see --help)" >&2
    exit 2
fi
case "${1:-}" in
-h | --help)
    cat <<'HELP'
Examples:
  bin/run_cluster.sh                               build and start, in the background
  bin/run_cluster.sh --seed                        the same, and move twelve starter personas in
  bin/run_cluster.sh --logs                        follow what it says; Ctrl-C stops following
  bin/run_cluster.sh --down                        stop it; the world is kept
  SIMFEED_PORT=9000 bin/run_cluster.sh
  OPENAI_API_KEY=… SIMFEED_MODEL=gpt-4o-mini bin/run_cluster.sh

Builds and starts the whole cluster in containers: PostgreSQL, its migrations, and Sim-Feed with its scheduler. Secrets
and settings are read from .env, which is made with new secrets (mode 0600) if there is none. Waits until Sim-Feed is
ready, and says where it is and how to become admin. `docker compose down --volumes` deletes the world for ever.
HELP
    ;;
"")
    need_docker
    start
    greet
    ;;
--seed)
    need_docker
    start
    docker compose exec -T app simfeed personas import sql/seed/personas.json --skip-invalid
    greet
    ;;
--down)
    need_docker
    without_secrets
    docker compose down
    ;;
--logs)
    need_docker
    without_secrets
    exec docker compose logs --follow --tail 100
    ;;
*)
    echo "bin/run_cluster.sh: unknown option $1 (see --help)" >&2
    exit 2
    ;;
esac
