#!/usr/bin/env bash
# A Dask scheduler and some workers on this machine, until Ctrl-C or the first that dies.
#
#   deploy/cluster.sh [WORKERS] [MEMORY] [SCHEDULER_FILE]      2 workers of 2GiB by default
#   dclust run jobs/quickstart.yaml --where SCHEDULER_FILE
#
# On several machines: run the scheduler line on one of them and the worker line on each of
# the others, with worker.env in their environment and the scheduler's address or file in place.
# Everyone who can reach the scheduler's port can run code on the cluster: it binds to loopback
# here; on a network use TLS (https://distributed.dask.org/en/stable/tls.html).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
workers=${1:-2} memory=${2:-2GiB} file=${3:-scheduler.json}

set -a
# shellcheck source=worker.env
. "$here/worker.env"
set +a
# The nanny would set its own malloc threshold over ours.
export DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON="{'MALLOC_TRIM_THRESHOLD_': 268435456}"

spill=$(mktemp -d) # 0700: spilled rows are nobody else's business
trap 'trap "" INT TERM; kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$spill" "$file"' EXIT
trap 'exit 0' INT TERM

rm -f "$file"
dask scheduler --host 127.0.0.1 --port 0 --dashboard-address 127.0.0.1:0 \
    --scheduler-file "$file" &
scheduler=$!
while [ ! -s "$file" ]; do
    kill -0 "$scheduler" # ends the script if there is no scheduler to wait for
    sleep 0.2
done
for _ in $(seq "$workers"); do
    # Workers leave with code 0 when their scheduler is lost: whatever supervises them must
    # always start them again.
    dask worker --scheduler-file "$file" --nworkers 1 --nthreads 1 --memory-limit "$memory" \
        --local-directory "$spill" --dashboard-address 127.0.0.1:0 --death-timeout 60 &
done
wait -n
