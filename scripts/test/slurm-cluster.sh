#!/usr/bin/env bash
# A real Slurm cluster on this one machine, for tests and for trying things out. Run as root.
#
#   slurm-cluster.sh up FOLDER [NODES]      start slurmctld and NODES (4) slurmd, each with a pretend GPU; prints nothing
#   slurm-cluster.sh accounting FOLDER      before `up`: start slurmdbd on MariaDB; sacct then works, accounts are enforced
#   slurm-cluster.sh stop-ctld|start-ctld|stop-dbd|start-dbd FOLDER
#   slurm-cluster.sh kill-node|start-node FOLDER n2
#   slurm-cluster.sh down FOLDER            stop everything that was started there
#
# Everything (configuration, sockets, keys, logs, state) lies in FOLDER, and every cluster has ports of its own, so
# several run side by side. Use it with SLURM_CONF=FOLDER/slurm.conf.
# Partitions: debug (default), urgent (preempts the others), short (one minute at most), polite (jobs that are preempted
# have half a minute, which their own signal tells them).
set -euo pipefail

command=${1:-} folder=${2:-}
[ -n "$folder" ] || { sed -n '2,14p' "$0"; exit 2; }
case $folder in /*) ;; *) echo "slurm-cluster.sh: FOLDER must be an absolute path" >&2; exit 2 ;; esac
export SLURM_CONF=$folder/slurm.conf
PATH=$PATH:/usr/sbin:/sbin
host=$(hostname -s)

fail() { echo "slurm-cluster.sh: $1; see the logs in $folder" >&2; exit 1; }
wait_for() { # seconds what command…
  local limit=$(($1 * 5)) what=$2; shift 2
  for ((try = 0; try < limit; try++)); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
  fail "$what did not come up in $((limit / 5)) s, nodes are: $(sinfo -h -N -o '%N %T %E' 2>&1 | tr '\n' ';')"
}
port() { cat "$folder/port"; }

make_munge() {
  [ -e "$folder/munge/key" ] || {
    mkdir -p "$folder/munge" && chmod 755 "$folder/munge"
    head -c 1024 /dev/urandom > "$folder/munge/key" && chmod 400 "$folder/munge/key"
  }
  munge -S "$folder/munge/socket" -n >/dev/null 2>&1 && return
  # --force: the folder may be below one that others may write, such as /tmp.
  munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" 2>/dev/null
  wait_for 10 munged munge -S "$folder/munge/socket" -n
}

choose_port() {
  [ -e "$folder/port" ] && return
  while :; do
    # Below those that the kernel gives to whoever connects somewhere.
    local base=$((20000 + RANDOM % 12000)) used=0
    for ((p = base; p < base + 20; p++)); do (: < "/dev/tcp/127.0.0.1/$p") 2>/dev/null && used=1 && break; done
    [ "$used" = 0 ] && break
  done
  echo "$base" > "$folder/port"
}

auth() { echo "AuthType=auth/munge"; echo "AuthInfo=socket=$folder/munge/socket,cred_expire=${CRED_EXPIRE_S:-10}"; }

write_conf() { # nodes
  local base; base=$(port)
  mkdir -p "$folder/ctld" "$folder/run"
  local accounting="AccountingStorageType=accounting_storage/none"
  if [ -e "$folder/slurmdbd.conf" ]; then
    accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((base + 1))
AccountingStoragePass=$folder/munge/socket
AccountingStorageEnforce=associations,qos"
  fi
  # cred_expire: a requeued job waits for so long (two minutes by default).
  cat > "$folder/slurm.conf" <<C
ClusterName=testbed
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
$(auth)
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/spool-%n
SlurmdPidFile=$folder/run/slurmd-%n.pid
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=${MIN_JOB_AGE_S:-300}
MaxArraySize=1001
KillWait=5
SlurmdTimeout=8
MessageTimeout=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=batch_sched_delay=1,sched_min_interval=200000
$accounting
GresTypes=gpu
MpiDefault=none
SlurmdParameters=config_overrides
NodeName=n[1-$1] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((base + 2))-$((base + 1 + $1))] CPUs=4 RealMemory=4000 Gres=gpu:toy:1 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=short Nodes=ALL MaxTime=1 State=UP PriorityTier=1
PartitionName=polite Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30
C
  echo "NodeName=n[1-$1] Name=gpu Type=toy File=/dev/null" > "$folder/gres.conf"
}

is_idle() { [ "$(sinfo -h -p debug -t idle -o %D 2>/dev/null | head -1)" = "$1" ]; }

up() { # nodes
  mkdir -p "$folder" && chmod 755 "$folder"
  choose_port
  make_munge
  write_conf "$1"
  slurmctld
  for ((n = 1; n <= $1; n++)); do mkdir -p "$folder/spool-n$n"; slurmd -N "n$n"; done
  wait_for 90 "$1 nodes" is_idle "$1"
}

accounting() {
  mkdir -p "$folder/db" "$folder/run" && chmod 755 "$folder"
  choose_port
  make_munge
  local socket=$folder/db/socket
  mariadb-install-db --no-defaults --datadir="$folder/db/data" --auth-root-authentication-method=normal \
    --skip-test-db --user=root > "$folder/db/install.log" 2>&1
  setsid mariadbd --no-defaults --user=root --datadir="$folder/db/data" --socket="$socket" --skip-networking \
    --innodb-log-file-size=64M --innodb-lock-wait-timeout=900 --pid-file="$folder/run/mariadbd.pid" \
    > "$folder/db/log" 2>&1 < /dev/null &
  wait_for 30 MariaDB mariadb-admin --no-defaults --socket="$socket" ping
  mariadb --no-defaults --socket="$socket" -e "create database slurm_acct_db; create user slurm@localhost identified by 'slurm'; grant all on slurm_acct_db.* to slurm@localhost;"
  cat > "$folder/slurmdbd.conf" <<C
$(auth)
DbdHost=localhost
DbdPort=$(($(port) + 1))
SlurmUser=root
PidFile=$folder/run/slurmdbd.pid
LogFile=$folder/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
C
  chmod 600 "$folder/slurmdbd.conf"
  write_conf 1
  start_dbd
  sacctmgr -i add cluster testbed >/dev/null
  sacctmgr -i add account science >/dev/null
  sacctmgr -i add user root account=science >/dev/null
}

start_dbd() {
  # slurmdbd finds a MariaDB socket by this variable only.
  MYSQL_UNIX_PORT=$folder/db/socket slurmdbd
  wait_for 20 slurmdbd sacctmgr -n list cluster
}

stop() { # name signal
  local file=$folder/run/$1.pid pid
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  kill "-$2" "$pid" 2>/dev/null || return 0
  # One that nobody waits for stays as a zombie.
  for ((try = 0; try < 100; try++)); do
    case $(awk '/^State:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) in '' | Z) break ;; esac
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$file"
}

case $command in
  up) up "${3:-4}" ;;
  accounting) accounting ;;
  stop-ctld) stop slurmctld TERM ;;
  start-ctld) slurmctld; wait_for 20 slurmctld sinfo ;;
  stop-dbd) stop slurmdbd TERM ;;
  start-dbd) start_dbd ;;
  kill-node)
    # With all that runs there, as a node does that loses its power.
    stop "slurmd-$3" KILL
    # The step's own daemon first, or it would report how its processes ended.
    processes=$(for file in /proc/[0-9]*/environ; do
      grep -qzx "SLURMD_NODENAME=$3" "$file" 2>/dev/null && grep -qzx "SLURM_CONF=$SLURM_CONF" "$file" || continue
      process=${file#/proc/} process=${process%/environ}
      parent=$(ps -o ppid= -p "$process" | tr -d ' ')
      [ "$(cat "/proc/$parent/comm" 2>/dev/null)" = slurmstepd ] && kill -9 "$parent" 2>/dev/null || true
      echo "$process"
    done)
    for process in $processes; do kill -9 "$process" 2>/dev/null || true; done ;;
  start-node) slurmd -N "$3" ;;
  down)
    scancel --user="$(id -un)" 2>/dev/null || true
    for file in "$folder"/run/slurmd-*.pid; do [ -e "$file" ] && stop "$(basename "$file" .pid)" KILL; done
    stop slurmctld KILL; stop slurmdbd TERM; stop mariadbd TERM
    # Steps and jobs that outlived their slurmd.
    for process in $(pgrep -f "slurmstepd: \[" || true); do
      grep -qz "SLURM_CONF=$SLURM_CONF" "/proc/$process/environ" 2>/dev/null && kill -9 "$process" 2>/dev/null || true
    done
    [ -e "$folder/munge/pid" ] && kill "$(cat "$folder/munge/pid")" 2>/dev/null || true ;;
  *) sed -n '2,14p' "$0"; exit 2 ;;
esac
