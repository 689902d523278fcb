#!/usr/bin/env bash
# Installs Chromium for the dashboard's tests: root on Debian only, and only what CI=true allows; see scripts/test.mjs.
# Does nothing where chromium works.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "install-chromium.sh: must run as root" >&2; exit 1; }

if ! chromium --version >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
  chromium --version >/dev/null
fi
