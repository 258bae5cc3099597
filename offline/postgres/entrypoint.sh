#!/bin/bash
# The contract of the official image (docker.io/library/postgres) on Debian's PostgreSQL.
# One thing is better here: a first start that is interrupted is simply done again.
set -Eeuo pipefail

# There as long as a first start is not complete. It is made in an empty PGDATA only, so where it
# is found, all that PGDATA holds is half-made.
UNFINISHED=$PGDATA/.first-start

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# NAME or NAME_FILE (a secret's file), else the default
file_env() {
    local name=$1 file_name=${1}_FILE value=${2:-}
    if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
        fail "both $name and $file_name are set; set one"
    elif [ -n "${!name:-}" ]; then
        value=${!name}
    elif [ -n "${!file_name:-}" ]; then
        value=$(<"${!file_name}")
    fi
    export "$name=$value"
    unset "$file_name"
}

read_settings() {
    file_env POSTGRES_PASSWORD
    file_env POSTGRES_USER postgres
    file_env POSTGRES_DB "$POSTGRES_USER"
    file_env POSTGRES_INITDB_ARGS
    : "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
        fail "a new database needs POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"
    fi
}

# The official image's name for it, so that sourced scripts can use it too.
docker_process_sql() {
    local query=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password)
    PGHOST='' PGHOSTADDR='' "${query[@]}" --dbname "$POSTGRES_DB" "$@"
}

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                printf '%s: running %s\n' "$0" "$file"
                # shellcheck disable=SC1090
                if [ -x "$file" ]; then "$file"; else . "$file"; fi
                ;;
            *.sql)
                printf '%s: running %s\n' "$0" "$file"
                docker_process_sql -f "$file"
                ;;
            *.sql.gz)
                printf '%s: running %s\n' "$0" "$file"
                gunzip -c "$file" | docker_process_sql
                ;;
            *) printf '%s: ignoring %s\n' "$0" "$file" ;;
        esac
    done
}

first_start() {
    if [ -d "$UNFINISHED" ]; then
        printf '%s: the first start was interrupted; starting over\n' "$0"
        find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found ! -path "$UNFINISHED" \
            -exec rm -rf {} +
        rm -rf "$UNFINISHED"
    fi
    local foreign
    foreign=$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -printf '%f' -quit)
    [ -z "$foreign" ] || fail "$PGDATA holds no database but is not empty: $foreign"
    mkdir "$UNFINISHED"

    # Not in PGDATA itself: initdb wants an empty folder.
    # POSTGRES_INITDB_ARGS is a line of arguments, split as the official image splits it.
    eval 'initdb --pgdata="$UNFINISHED/data" --username="$POSTGRES_USER" \
        --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") \
        --auth-local=trust --auth-host=scram-sha-256 '"$POSTGRES_INITDB_ARGS"
    mv "$UNFINISHED"/data/* "$PGDATA/"
    printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"

    # No other container may meet the half-made database: the socket only.
    shift
    pg_ctl --wait start -o "$(printf '%q ' "$@" -c listen_addresses= -p "${PGPORT:-5432}")"
    if [ "$POSTGRES_DB" != postgres ]; then
        docker_process_sql --dbname postgres --set db="$POSTGRES_DB" \
            <<<'CREATE DATABASE :"db";'
    fi
    run_init_files
    pg_ctl --mode fast --wait stop
    rm -r "$UNFINISHED"
}

# Only the server needs the steps below; psql, sh and the like just run.
case "${1:-}" in -*) set -- postgres "$@" ;; esac
[ "${1:-}" = postgres ] || exec "$@"
for argument; do
    case $argument in --help | -\? | --version | -V | --describe-config) exec "$@" ;; esac
done

# As root (no user given): hand the folders over, then go on without privileges.
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

# At every start: Kubernetes opens a volume's folders to the pod's group, which postgres refuses.
mkdir -p "$PGDATA" && chmod 700 "$PGDATA" ||
    fail "$PGDATA must belong to the user of this container, $(id -u):$(id -g)"
if [ -d "$UNFINISHED" ] || [ ! -s "$PGDATA/PG_VERSION" ]; then
    read_settings
    first_start "$@"
    printf 'PostgreSQL init process complete; ready for start up.\n'
fi
unset POSTGRES_PASSWORD
exec "$@"
