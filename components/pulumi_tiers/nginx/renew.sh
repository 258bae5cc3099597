#!/bin/sh
# Gets the certificate of an edge from an ACME server, and a new one before it expires.
# Arguments: what certbot is to be told besides. Its folders are on a volume that nginx has too.
set -u
folder=${EDGE_LETSENCRYPT:-/etc/letsencrypt}
umask 022
mkdir -p "$folder/webroot"
pid=
trap 'kill $pid 2>/dev/null; exit 0' TERM INT
while :; do
    if certbot certonly --non-interactive --agree-tos --keep-until-expiring \
        --config-dir "$folder" --work-dir "${EDGE_WORK:-/var/lib/letsencrypt}" \
        --logs-dir "${EDGE_LOGS:-/var/log/letsencrypt}" \
        --webroot --webroot-path "$folder/webroot" "$@"; then
        pause=${EDGE_RENEW_SECONDS:-43200}
    else
        # The server counts failures: five in an hour, and it stops to answer.
        pause=${EDGE_RETRY_SECONDS:-900}
    fi
    # nginx is no root: it reads as a member of the group that all of this belongs to.
    for part in live archive; do
        [ -d "$folder/$part" ] && chmod -R g+rX "$folder/$part"
    done
    sleep "$pause" &
    pid=$!
    wait $pid
done
