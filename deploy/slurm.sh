#!/usr/bin/env bash
#SBATCH --job-name=secateur
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
#
# A sweep on the nodes of a Slurm allocation, from the folder of a checkout that all of them see:
#   sbatch deploy/slurm.sh --study paper --data /data/imagenet --results /shared/results
#
# Five minutes before its time is over the sweep is broken off, and the job goes back into the queue.
# Whatever ends it there (time, preemption, a node that fails), it goes on when it runs again.
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?must be set: sbatch runs this script, as deploy/README.md says}"
python=${PYTHON:-$PWD/.venv/bin/python}
ray=("$python" -m ray.scripts.scripts)
secret=$HOME/.secateur-slurm-$SLURM_JOB_ID # which all nodes see, and nobody else
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID
ended=no requeue=no over=0 driver='' others=()

start_ray() {
    local head port address workers=$((SLURM_JOB_NUM_NODES - 1))
    read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST") # where this script runs
    port=$((20000 + SLURM_JOB_ID % 10000)) # two jobs on one node have two
    address=$(srun --nodes=1 --ntasks=1 --exclude="$head" getent ahostsv4 "$head" |
        awk 'NR == 1 { print $1 }') # by which the others know it

    # Whoever reaches Ray runs code, unless it wants a token. It is new for each run of the job.
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$secret/token
    mkdir -p "$secret"
    chmod 700 "$secret"
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")

    # Images are files mapped into memory, and do not travel through Ray's own store.
    local common=(--block --disable-usage-stats --num-cpus="${SLURM_CPUS_PER_TASK:-1}"
        --object-store-memory=300000000)
    "${ray[@]}" start --head --node-ip-address="$address" --port="$port" --include-dashboard=false \
        --dashboard-host=127.0.0.1 --temp-dir="$RAY_TMPDIR" "${common[@]}" &
    others+=($!)
    export RAY_ADDRESS=$address:$port
    for _ in {1..60}; do
        if "${ray[@]}" health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; then break; fi
        sleep 1
    done
    # The sweep begins with the nodes that are there, and takes those that come. One that is slow
    # to start, to which Ray gives half a minute, tries again.
    # shellcheck disable=SC2016 # each node expands it
    local try='for _ in 1 2 3; do
        "$@" &
        trap "kill $! 2>/dev/null; wait; rm -rf $RAY_TMPDIR; exit" TERM
        wait $! && break
    done'
    srun --nodes="$workers" --ntasks="$workers" --ntasks-per-node=1 --exclude="$head" \
        --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        bash -c "$try" join "${ray[@]}" start --address="$RAY_ADDRESS" "${common[@]}" &
    others+=($!)
}

end_ray() {
    # What this job has started; `ray stop` would end the Ray of the user's other jobs, too.
    if [ "${#others[@]}" -gt 0 ]; then kill "${others[@]}" 2>/dev/null || true; fi
    wait
    rm -rf "$secret" "$RAY_TMPDIR"
}

# shellcheck disable=SC2317 # a trap calls it
end_sweep() {
    ended=yes
    if [ -n "$driver" ]; then kill -TERM "$driver" 2>/dev/null || true; fi
}

# shellcheck disable=SC2317 # a trap calls it
time_is_over() {
    requeue=yes over=$SECONDS # and starts no process: `$!` would be that one's from here on
    end_sweep
}

trap end_ray EXIT
trap end_sweep TERM INT # scancel, or preemption: then Slurm itself requeues
trap time_is_over USR1
echo "job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, run $((${SLURM_RESTART_COUNT:-0} + 1)): $*"
# On one node Ray is the sweep's own: it listens on loopback, with a token that is in no file.
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then start_ray; fi

code=130
if [ "$ended" = no ]; then
    "$python" -m sweeps sweep "$@" &
    driver=$! code=0
    if [ "$ended" = yes ]; then end_sweep; fi # in between
    while kill -0 "$driver" 2>/dev/null; do
        sleep 1 & # a trap ends the wait for this, and the driver is waited for once
        wait $! || true
        # It loses nothing by it; a job that is still there when its time is over is not requeued.
        if [ "$requeue" = yes ] && [ $((SECONDS - over)) -ge 200 ]; then
            kill -KILL "$driver" 2>/dev/null || true
        fi
    done
    wait "$driver" || code=$?
fi
echo "the sweep ended with $code"
if [ "$requeue" = yes ] && [ "$code" != 0 ]; then
    trap - EXIT
    end_ray
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
