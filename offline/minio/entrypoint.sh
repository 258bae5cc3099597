#!/bin/sh
# As in the official image (quay.io/minio/minio): every command is one of MinIO's. Who wants `mc` or a
# shell sets another entrypoint. The server itself reads MINIO_ROOT_PASSWORD_FILE and the like.
[ "${1:-minio}" = minio ] || set -- minio "$@"
exec "$@"
