#!/bin/bash
# The contract of the official image (docker.io/library/mongo) on FerretDB.
set -Eeuo pipefail

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# NAME or NAME_FILE (a secret's file)
file_env() {
    local name=$1 file_name=${1}_FILE
    if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
        fail "both $name and $file_name are set; set one"
    elif [ -n "${!file_name:-}" ]; then
        export "$name=$(<"${!file_name}")"
    fi
    unset "$file_name"
}

case "${1:-}" in -*) set -- mongod "$@" ;; esac
[ "${1:-}" = mongod ] || exec "$@"

# As root (no user given): hand the folders over, then go on without privileges.
if [ "$(id -u)" = 0 ]; then
    find /data/db /data/configdb ! -user mongodb -exec chown mongodb:mongodb {} +
    exec setpriv --reuid=mongodb --regid=mongodb --init-groups "$0" "$@"
fi

file_env MONGO_INITDB_ROOT_USERNAME
file_env MONGO_INITDB_ROOT_PASSWORD
if [ -n "${MONGO_INITDB_ROOT_USERNAME:-}" ] && [ -n "${MONGO_INITDB_ROOT_PASSWORD:-}" ]; then
    # Made at the first start; a user that is there keeps its password.
    export FERRETDB_SETUP_DATABASE=admin
    export FERRETDB_SETUP_USERNAME=$MONGO_INITDB_ROOT_USERNAME
    export FERRETDB_SETUP_PASSWORD=$MONGO_INITDB_ROOT_PASSWORD
    set -- "$@" --auth
elif [ -n "${MONGO_INITDB_ROOT_USERNAME:-}${MONGO_INITDB_ROOT_PASSWORD:-}" ]; then
    fail "set both MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD, or none"
fi
unset MONGO_INITDB_ROOT_USERNAME MONGO_INITDB_ROOT_PASSWORD
for file in /docker-entrypoint-initdb.d/*; do
    [ ! -e "$file" ] || fail "this stand-in runs no scripts: $file"
done
exec "$@"
