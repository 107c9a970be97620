#!/bin/bash
# A Slurm cluster of virtual nodes on this machine, without systemd, cgroups or accounting.
#   cluster.sh start FOLDER [NODES]    then: export SLURM_CONF=FOLDER/slurm.conf
#   cluster.sh stop FOLDER
# Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge.
set -e
verb=$1 folder=$2 nodes=${3:-3} host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

stop() {
  for file in "$folder"/slurmd.*.pid "$folder"/slurmctld.pid; do
    [ -e "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
  done
  # Slurm's own munge daemon is left running if it was there before.
  [ -e "$folder/munged.own" ] && kill "$(cat "$folder/munged.own")" 2>/dev/null || true
}

start() {
  mkdir -p "$folder"/{state,spool,log} /run/munge
  chown munge: /run/munge
  if ! pgrep -x munged >/dev/null; then
    setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged
    pgrep -x munged >"$folder/munged.own"
  fi
  local port=$((20000 + RANDOM % 20000))
  cat >"$SLURM_CONF" <<C
ClusterName=virtual
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
JobRequeue=1
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
NodeName=node[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 2))-$((port + 1 + nodes))] CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
C
  slurmctld -c
  for number in $(seq "$nodes"); do slurmd -N "node$number"; done
  for _ in $(seq 100); do
    sinfo -h -o '%T %D' 2>/dev/null | grep -qx "idle $nodes" && return
    sleep 0.2
  done
  echo "the nodes did not come up; see $folder/log" >&2
  stop
  exit 1
}

"$verb"
