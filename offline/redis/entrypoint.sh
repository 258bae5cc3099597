#!/bin/sh
# The contract of the official image (docker.io/library/redis) on Debian's Redis.
set -eu

# Options or a configuration file alone are for the server.
case "${1:-}" in -* | *.conf) set -- redis-server "$@" ;; esac
[ "${1:-}" = redis-server ] || exec "$@"

# As root (no user given): hand the folder over, then go on without privileges.
if [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis:redis {} +
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi

case "${2:-}" in -v | --version | -h | --help | --test-memory | --check-system) exec "$@" ;; esac

# The official image is compiled with protected mode off: without it, a server without a password
# would refuse everybody outside of its container. Who sets it, keeps what they set.
chosen=no
for argument; do
    case $argument in
        --protected-mode) chosen=yes ;;
        *.conf) if grep -qis '^[[:space:]]*protected-mode' "$argument"; then chosen=yes; fi ;;
    esac
done
[ "$chosen" = yes ] || set -- "$@" --protected-mode no

# What it writes is its own, unless somebody chose otherwise.
[ "$(umask)" != 0022 ] || umask 0077
exec "$@"
