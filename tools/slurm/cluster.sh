#!/usr/bin/env bash
# A private Slurm of virtual nodes on this machine: cluster.sh start FOLDER [NODES], cluster.sh stop FOLDER. It has its own munge, ports
# and files, all in FOLDER, and SLURM_CONF=FOLDER/slurm.conf leads Slurm's commands to it. It needs root, and Debian's munge,
# slurmctld, slurmd and slurm-client.
set -euo pipefail
export PATH=$PATH:/usr/sbin

daemons=(munged slurmctld slurmd sbatch squeue scontrol)

start() {
  local dir=$1 nodes=${2:-2} c
  for c in "${daemons[@]}"; do
    command -v "$c" >/dev/null || { echo "$c is missing: apt-get install munge slurmctld slurmd slurm-client" >&2; exit 1; }
  done
  [ "$(id -u)" = 0 ] || { echo "a private Slurm needs root: its daemons start processes for users" >&2; exit 1; }
  mkdir -p "$dir"/{munge,state,spool}
  chmod 755 "$dir"
  head -c 1024 /dev/urandom >"$dir/munge/key"
  chown -R munge: "$dir/munge"
  chmod 400 "$dir/munge/key"
  chmod 755 "$dir/munge"
  # As root munged wants its folders to be safe from others, which those below a temporary folder need not be.
  setpriv --reuid=munge --regid=munge --clear-groups munged --force --key-file="$dir/munge/key" --socket="$dir/munge/sock" \
    --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" --num-threads=2

  local host base cpus
  host=$(hostname -s)
  cpus=$(nproc)
  base=$(free_ports $((nodes + 1)))
  {
    cat <<CONF
ClusterName=stepflow
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/sock,cred_expire=3
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=${SLURMD_TIMEOUT:-2}
SlurmctldTimeout=5
KillWait=3
InactiveLimit=0
MinJobAge=${MIN_JOB_AGE:-300}
MessageTimeout=2
TCPTimeout=2
CONF
    for i in $(seq "$nodes"); do
      echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + i)) CPUs=$cpus RealMemory=8000 State=UNKNOWN"
    done
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO"
  } >"$dir/slurm.conf"
  export SLURM_CONF=$dir/slurm.conf
  slurmctld
  for i in $(seq "$nodes"); do
    mkdir -p "$dir/spool/n$i"
    slurmd -N "n$i"
  done
  for _ in $(seq 100); do
    if [ "$(sinfo -h -t idle -N -o %N 2>/dev/null | sort -u | wc -l)" = "$nodes" ]; then
      return 0
    fi
    sleep 0.1
  done
  echo "Slurm did not come up:" >&2
  tail -5 "$dir"/*.log >&2
  stop "$dir"
  exit 1
}

# free_ports N: the first of N ports in a row that nobody listens at.
free_ports() {
  local p i
  for _ in $(seq 50); do
    p=$((20000 + RANDOM % 10000))
    for i in $(seq 0 "$1"); do
      if (exec 3<>"/dev/tcp/127.0.0.1/$((p + i))") 2>/dev/null; then
        continue 2
      fi
    done
    echo "$p"
    return
  done
  echo "no free ports" >&2
  exit 1
}

stop() {
  local f
  for f in "$1"/slurmd.*.pid "$1/slurmctld.pid" "$1/munge/pid"; do
    [ -f "$f" ] && kill "$(cat "$f")" 2>/dev/null || true
  done
  for _ in $(seq 50); do
    ls "$1"/slurmd.*.pid "$1/slurmctld.pid" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
}

case ${1:-} in
  start | stop) "$@" ;;
  *)
    sed -n 2,4p "$0" | cut -c3- >&2
    exit 2
    ;;
esac
