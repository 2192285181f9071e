#!/bin/bash
# A run under Slurm: a Ray cluster for the length of the job; the driver is on its first node, as this script is.
#   SHARED=/shared VENV=/shared/venv sbatch examples/cluster/slurm.sh /shared/configs/rl.yaml
#SBATCH --job-name=sharpen
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

config=${1:?give a config}
run=${SHARED:?set SHARED to a folder that all nodes see}/runs/slurm-$SLURM_JOB_ID
ray=${VENV:?set VENV to the virtual environment, under the same path on all nodes}/bin/ray
export SHARPEN_CACHE=$SHARED/cache HF_HOME=$SHARED/huggingface

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(getent ahostsv4 "$(hostname)" | awk 'NR == 1 {print $1}')  # must not be 127.0.0.1: see docs/cluster.md
port=$((20000 + SLURM_JOB_ID % 10000))

"$ray" start --head --node-ip-address="$head" --port="$port" --include-dashboard=false
trap '"$ray" stop --grace-period 30' EXIT
if ((${#nodes[@]} > 1)); then
  srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="${nodes[0]}" --gpus-per-node=8 \
    "$ray" start --block --address="$head:$port" &
fi

resume=()
if [[ -d $run ]]; then resume=(--resume "$run"); fi  # this job ran before, on other nodes perhaps
"$VENV/bin/sharpen" run "$config" ray.address="$head:$port" ray.min_nodes=${#nodes[@]} ray.join_timeout_s=600 \
  log.dir="$SHARED/runs" log.name="slurm-$SLURM_JOB_ID" "${resume[@]}" &
driver=$!

# Ten minutes before the end Slurm warns this shell: the step in hand is finished and saved, and the job queued again.
stopped=
trap 'stopped=1; kill -TERM "$driver"' TERM
status=0
wait "$driver" || status=$?
if [[ $stopped ]]; then
  status=0
  wait "$driver" || status=$?
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
