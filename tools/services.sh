#!/usr/bin/env bash
# Servers that the hub's tests run against, from the system's packages: PostgreSQL.
# Quick where it is there. Without root or apt it says what to install; those tests then skip.
set -euo pipefail
for found in /usr/lib/postgresql/*/bin/initdb "$(command -v initdb || true)"; do
    [ -x "$found" ] && exit 0
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "PostgreSQL is not installed: its tests will be skipped (install the package postgresql)" >&2
    exit 0
fi
echo "installing postgresql ..." >&2
export DEBIAN_FRONTEND=noninteractive
# No cluster of its own: the tests start their server in a temporary folder.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
install() { apt-get install -y --no-install-recommends postgresql >/dev/null; }
install 2>/dev/null || { apt-get update >/dev/null && install; } ||
    echo "postgresql could not be installed: its tests will be skipped" >&2
