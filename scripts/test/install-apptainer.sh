#!/usr/bin/env bash
# Installs Apptainer for the tests: root on Debian 12 (amd64) only, and only what CI=true allows; see scripts/test.mjs.
#
# Debian 12 has no Apptainer, and that of Debian's newest suite wants a newer C library. Its package is unpacked in
# place and its two programs are pointed at a private copy of that library in /opt/apptainer-libs.
# The mirror is the one in this machine's apt configuration. Does nothing where apptainer works.
set -euo pipefail

user=kitty-kv-test
fail() { echo "install-apptainer.sh: $1" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "must run as root"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "knows amd64 only"

if ! apptainer --version >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends \
    patchelf squashfs-tools squashfuse fuse2fs fuse-overlayfs fuse3 uidmap debootstrap e2fsprogs ca-certificates >/dev/null
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null \
    | grep -E '^(URIs:|deb )' | grep -oE '[a-z+]+://[^ ]+/debian/?( |$)' | head -n1 | tr -d ' ' || true)
  [ -n "$mirror" ] || fail "apt's configuration names no Debian mirror"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" > "$work/sid.list"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  apt=(apt-get -q -oDir::Etc::SourceList="$work/sid.list" -oDir::Etc::SourceParts=/dev/null
       -oDir::State::Lists="$work/lists" -oDir::Cache="$work/cache" -oAPT::Sandbox::User=root)
  cd "$work"
  "${apt[@]}" update >/dev/null
  "${apt[@]}" download apptainer libc6 libgcc-s1 libseccomp2 libsqlite3-0 >/dev/null
  mkdir -p libs /opt/apptainer-libs
  for deb in libc6_* libgcc-s1_* libseccomp2_* libsqlite3-0_*; do dpkg -x "$deb" libs; done
  cp -a libs/usr/lib/x86_64-linux-gnu/*.so* /opt/apptainer-libs/
  dpkg -x apptainer_*.deb /
  for program in /usr/bin/apptainer /usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
    patchelf --set-interpreter /opt/apptainer-libs/ld-linux-x86-64.so.2 "$program"
    patchelf --force-rpath --set-rpath /opt/apptainer-libs "$program"
  done
  # A root without every capability (a CI machine's) can then run containers.
  sed -i 's/^root default capabilities = .*/root default capabilities = no/' /etc/apptainer/apptainer.conf
  [ ! -e /dev/fuse ] || chmod 666 /dev/fuse
  apptainer --version >/dev/null
fi

# Images are built as an ordinary user, as at HPC sites; useradd gives it a line in /etc/subuid.
id "$user" >/dev/null 2>&1 || useradd --create-home --shell /usr/sbin/nologin "$user"
