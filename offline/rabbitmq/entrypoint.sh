#!/bin/bash
# The contract of the official image (docker.io/library/rabbitmq) on Debian's RabbitMQ. The server
# itself reads RABBITMQ_DEFAULT_USER, RABBITMQ_DEFAULT_PASS and RABBITMQ_DEFAULT_VHOST.
set -euo pipefail

# As root (no user given): hand the folder over, then go on without privileges.
case "${1:-}" in
    rabbitmq*)
        if [ "$(id -u)" = 0 ]; then
            [ "$1" != rabbitmq-server ] ||
                find /var/lib/rabbitmq ! -user rabbitmq -exec chown rabbitmq {} +
            exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" "$@"
        fi
        ;;
esac

# The official image refuses them too, instead of starting without a password.
for name in RABBITMQ_DEFAULT_{USER,PASS}_FILE RABBITMQ_VM_MEMORY_HIGH_WATERMARK \
    RABBITMQ_{,MANAGEMENT_}SSL_{CACERTFILE,CERTFILE,DEPTH,FAIL_IF_NO_PEER_CERT,KEYFILE,VERIFY}; do
    [ -z "${!name:-}" ] || {
        echo "error: $name is set but deprecated: use a configuration file" >&2
        exit 1
    }
done
exec "$@"
