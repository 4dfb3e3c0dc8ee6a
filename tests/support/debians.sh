# shellcheck shell=bash
# Separate Debians, made once and entered without a change to this machine. Sourced in the checkout's root by
# tests/gstreamer-versions, tests/validate, tests/machines and scripts/test-deb.
#
# Needs root (chroot, mounts in a private namespace), debootstrap, Rust and what scripts/setup fetched. ROOTS=folder says where
# the Debians go, MIRROR=url where they come from (default: apt's mirror). The next run uses them again. rm -rf removes them:
# nothing stays mounted.

say() { printf '%s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Rust and its registry of crates are those of the user who calls sudo.
user=${SUDO_USER:-root}
home=$(getent passwd "$user" | cut -d: -f6)
roots=${ROOTS:-$home/.cache/rtmpose-gstreamer-versions}
as_user() {
  if [ "$user" = root ]; then "$@"; return; fi
  runuser --login "$user" --command "cd $(printf '%q' "$PWD") && $(printf '%q ' "$@")"
}

# The mirror that apt uses here.
apt_mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep --only-matching 'https\?://[^ ]*/debian/\?\( \|$\)' | head -1 | tr -d ' '
}

# Checks the tools for making and entering Debians; sets rust and registry.
look_for_tools() {
  local tool
  [ "$(id -u)" = 0 ] || fail "root is needed to make and enter a Debian: sudo $0 $*"
  for tool in debootstrap unshare chroot ip; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install debootstrap util-linux coreutils iproute2"
  done
  rust=$(as_user rustc --print sysroot) || fail "user $user has no Rust: install it with rustup (https://rustup.rs)"
  [ "$rust" != /usr ] || fail "the Rust in /usr cannot be used in another Debian: install it with rustup (https://rustup.rs)"
  [ -x "$rust/bin/cargo-clippy" ] || fail "Rust has no clippy: rustup component add clippy"
  registry=${CARGO_HOME:-$home/.cargo}/registry
  as_user cargo fetch --locked --quiet
}

# use_debians SUITE...: checks all requirements, and says what will be made.
use_debians() {
  local suite
  for suite; do
    case $suite in trixie | sid | experimental) ;; *) fail "unknown suite '$suite': trixie, sid or experimental" ;; esac
  done
  look_for_tools
  [ -e .deps/onnxruntime/libonnxruntime.so.1 ] || fail "ONNX Runtime is not there yet: scripts/setup --tests fetches it"
  mirror=${MIRROR:-$(apt_mirror || true)}
  [ -n "$mirror" ] || fail "no Debian mirror in /etc/apt: say one with MIRROR=url"
  say "Tests in $*, each a Debian under $roots:"
  for suite; do
    if is_made "$suite"; then
      say "  $suite: is there, $(du -sh --one-file-system "$roots/$suite" | cut -f1)"
    else
      say "  $suite: will be made from $mirror (downloads about 600 MB, takes 2.5 GB; what is built there 3 GB)"
    fi
  done
  say "Outside of that folder only the crates of Cargo.lock are fetched, to $registry."
  mkdir -p "$roots"
}

packages=(build-essential pkg-config meson ca-certificates
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  mosquitto mosquitto-clients
  python3-gi python3-gst-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0)

# Everything below runs in its own mount and process namespace: its mounts and processes end with it.
private() { unshare --mount --pid --fork --kill-child "$@"; }

# Whether that Debian is there, with these packages.
is_made() { [ "$(cat "$roots/$1.complete" 2>/dev/null)" = "$(printf '%s\n' "${packages[@]}")" ]; }

make_root() {
  local suite=$1 base=$1 root=$roots/$1
  if is_made "$suite"; then return; fi
  if [ "$suite" = experimental ]; then base=sid; fi
  rm -rf --one-file-system "$root" "$root.complete"
  private debootstrap --variant=minbase --include=ca-certificates "$base" "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail "$root.log"; return 1; }
  echo "deb $mirror $base main" >"$root/etc/apt/sources.list"
  if [ "$suite" = experimental ]; then
    echo "deb $mirror experimental main" >>"$root/etc/apt/sources.list"
    # Only GStreamer comes from there.
    local sources=(gstreamer1.0 gst-plugins-{base,good,bad,ugly}1.0 gst-libav1.0 gst-python1.0 gst-devtools1.0)
    printf 'Package: %s\nPin: release a=experimental\nPin-Priority: 990\n' "$(printf 'src:%s ' "${sources[@]}")" \
      >"$root/etc/apt/preferences.d/gstreamer"
  fi
  # A mirror may lag behind by more days than its lists are valid. Their signatures are checked all the same.
  printf '%s\n' 'APT::Install-Recommends "false";' 'Acquire::Languages "none";' 'Acquire::Retries "3";' \
    'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90small"
  printf 'force-unsafe-io\npath-exclude=/usr/share/%s/*\n' man >"$root/etc/dpkg/dpkg.cfg.d/small"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  private sh -euc '
    mount -t proc proc "$1/proc"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    chroot "$1" apt-get --quiet update
    root=$1 && shift
    chroot "$root" apt-get --quiet --yes install "$@"
    chroot "$root" apt-get clean' sh "$root" "${packages[@]}" >>"$root.log" 2>&1 || { tail "$root.log"; return 1; }
  printf '%s\n' "${packages[@]}" >"$root.complete"
}

# Runs a command in the checkout, which is /src there, without network. Builds go to /target of that Debian. The
# checkout, Rust and its registry are read-only there.
in_root() {
  local root=$roots/$1
  shift
  mkdir -p "$root"/{src,target,rust,root/.cargo/registry}
  root=$root rust=$rust registry=$registry private --net bash -euc '
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    for pair in "$PWD:src" "$rust:rust" "$registry:root/.cargo/registry"; do
      mount --bind "${pair%:*}" "$root/${pair#*:}"
      mount -o remount,bind,ro "$root/${pair#*:}"
    done
    # Tests connect to their own servers.
    ip link set lo up
    exec env -i HOME=/root LANG=C.UTF-8 PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      CARGO_HOME=/root/.cargo CARGO_TARGET_DIR=/target CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never \
      CARGO_PROFILE_DEV_DEBUG=0 ${CARGO_BUILD_JOBS:+"CARGO_BUILD_JOBS=$CARGO_BUILD_JOBS"} \
      GST_PLUGIN_PATH=/target/debug ORT_DYLIB_PATH=/src/.deps/onnxruntime/libonnxruntime.so.1 \
      chroot "$root" sh -euc "cd /src && exec \"\$@\"" sh "$@"' bash "$@"
}

# The build feature for a suite's GStreamer, as meson.build takes it.
feature_of() {
  case $1 in trixie) echo v1_26 ;; sid) echo v1_28 ;; experimental) echo v1_30 ;; esac
}
