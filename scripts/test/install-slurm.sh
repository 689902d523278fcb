#!/usr/bin/env bash
# Installs Slurm for the tests: root on Debian only, and only what CI=true allows; see scripts/test.mjs.
# slurmdbd and MariaDB come with it, for the tests of accounting. No daemon is started: tests start their own,
# in folders and on ports of their own (scripts/test/slurm-cluster.sh). Does nothing where all is installed.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "install-slurm.sh: must run as root" >&2; exit 1; }
complete() {
  for program in slurmctld slurmd slurmdbd munged mariadbd sbatch; do command -v "$program" >/dev/null || return 1; done
}
complete && exit 0

export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
# The packages would start daemons of their own, with a configuration that is not there.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get -o DPkg::Lock::Timeout=300 update -qq
apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
  slurm-client slurmctld slurmd slurmdbd munge mariadb-server >/dev/null
complete
