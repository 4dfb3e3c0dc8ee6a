# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are used by those who source this
# Sourced after lib.sh: sets up a build for ARM64 on Debian 12 on x86-64, all in .deps/arm64. An apt with its own folders unpacks
# Debian's packages there. Nothing is installed on this machine, and root is not needed. `make distclean` removes it.
ARM64=$PWD/.deps/arm64
ARM64_TARGET=aarch64-unknown-linux-gnu
ARM64_BUILD=target/arm64
ARM64_WHEEL=onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_aarch64.whl
# Packages that the build links with, and packages that the tests run with.
ARM64_PACKAGES=(libc6-dev libgcc-12-dev libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev)
ARM64_TEST_PACKAGES=(gstreamer1.0-plugins-base gstreamer1.0-plugins-good)

# arm64_apt ARCHITECTURE COMMAND...: apt with its own lists and its own list of installed packages: empty for arm64, this
# machine's for its own architecture.
arm64_apt() {
  local architecture=$1 status=$ARM64/apt/nothing
  shift
  if [ "$architecture" = amd64 ]; then status=/var/lib/dpkg/status; fi
  apt-get -q -y -o APT::Architecture="$architecture" -o APT::Architectures::= -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
    -o Dir::State="$ARM64/apt/state" -o Dir::State::status="$status" -o Dir::Cache="$ARM64/apt/$architecture" \
    -o APT::Sandbox::User=root -o Debug::NoLocking=true -o Acquire::Languages=none -o APT::Update::Post-Invoke-Success::= \
    -o APT::Install-Recommends=false "$@" >>"$ARM64/apt.log" 2>&1
}

# arm64_unpack ARCHITECTURE FOLDER PACKAGE...: unpacks the packages, and missing ones that they need, into the folder.
arm64_unpack() {
  local architecture=$1 folder=$2 package
  shift 2
  mkdir -p "$ARM64/apt/$architecture/archives/partial" "$folder"
  arm64_apt "$architecture" --download-only install "$@" ||
    fail "Debian's packages for ARM64 cannot be fetched (log: $ARM64/apt.log): $*"
  for package in "$ARM64/apt/$architecture/archives"/*.deb; do dpkg-deb --extract "$package" "$folder"; done
}

# Tells dpkg-shlibdeps which package has which library, as dpkg would if these packages were installed.
arm64_database() {
  local package name info=$ARM64/dpkg/info
  mkdir -p "$info" "$ARM64/dpkg/updates"
  echo 1 >"$info/format"
  for package in "$ARM64/apt/arm64/archives"/*.deb; do
    name=$(dpkg-deb --field "$package" Package):arm64
    dpkg-deb --ctrl-tarfile "$package" | tar -xO --wildcards './symbols' >"$info/$name.symbols" 2>/dev/null || rm "$info/$name.symbols"
    dpkg-deb --ctrl-tarfile "$package" | tar -xO --wildcards './shlibs' >"$info/$name.shlibs" 2>/dev/null || rm "$info/$name.shlibs"
    if [ ! -e "$info/$name.symbols" ] && [ ! -e "$info/$name.shlibs" ]; then continue; fi
    dpkg-deb --fsys-tarfile "$package" | tar -t | sed "s#^\.#$ARM64/root#; s#/\$##" >"$info/$name.list"
    dpkg-deb --field "$package" Package Version Architecture Multi-Arch Maintainer Description | sed '/^ /d' >>"$ARM64/dpkg/status"
    printf 'Status: install ok installed\n\n' >>"$ARM64/dpkg/status"
  done
}

# Makes commands of a compiler that lies in a folder with its libraries.
arm64_wrappers() {
  local name
  mkdir -p "$ARM64/bin"
  for name in gcc ar strip objdump; do
    case $name in
      gcc) set -- gcc-12 "--sysroot=$ARM64/root" ;;
      *) set -- "$name" ;;
    esac
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$ARM64/tools/usr/lib/x86_64-linux-gnu" \
      "$ARM64/tools/usr/bin/aarch64-linux-gnu-$*" >"$ARM64/bin/aarch64-linux-gnu-$name"
  done
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$ARM64/tools/usr/lib/x86_64-linux-gnu" "$ARM64/tools/usr/bin/rustc" \
    >"$ARM64/bin/rustc"
  chmod +x "$ARM64/bin"/*
}

# Whether the Rust in PATH has the standard library for ARM64, as after `rustup target add`.
arm64_rust() { ls "$(rustc --print target-libdir --target "$ARM64_TARGET" 2>/dev/null)"/libstd-*.rlib >/dev/null 2>&1; }

# arm64_setup [--tests]: all that a build needs, and what runs tests (QEMU, and GStreamer's elements).
arm64_setup() {
  local wanted=build tools=(gcc-12-aarch64-linux-gnu) packages=("${ARM64_PACKAGES[@]}") link to
  if [ "${1:-}" = --tests ]; then wanted=tests; fi
  if [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ] || ! grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release; then
    fail "ARCH=arm64 works on Debian 12 on x86-64 only. On an ARM64 machine leave it out."
  fi
  if [ ! -e "$ARM64/complete-$wanted" ]; then
    if [ "$wanted" = tests ]; then
      tools+=(qemu-user-static qemu-user)
      packages+=("${ARM64_TEST_PACKAGES[@]}")
    fi
    if ! arm64_rust; then tools+=(rustc-web libstd-rust-web-dev); fi
    say "Downloading for ARM64 from Debian into $ARM64 (200 to 350 MB, about 2 min): ${tools[*]}; for ARM64 ${packages[*]}; and their dependencies"
    rm -rf "$ARM64"
    mkdir -p "$ARM64/apt/state/lists/partial" "$ARM64/root/proc"
    touch "$ARM64/apt/nothing"
    arm64_apt amd64 update || true
    arm64_unpack amd64 "$ARM64/tools" "${tools[@]}"
    if ! arm64_rust; then
      # In a folder of its own: what it needs is there already.
      (cd "$ARM64/apt" && arm64_apt amd64 download libstd-rust-web-dev:arm64) || fail "Rust's library for ARM64 cannot be fetched (log: $ARM64/apt.log)"
      dpkg-deb --extract "$ARM64/apt"/libstd-rust-web-dev_*_arm64.deb "$ARM64/tools"
    fi
    arm64_unpack arm64 "$ARM64/root" "${packages[@]}"
    # What leads to the root of a system is to lead to that of this one.
    find "$ARM64/root" -type l -lname '/*' | while read -r link; do
      to=$ARM64/root$(readlink "$link")
      if [ -e "$to" ]; then ln -sfr "$to" "$link"; fi
    done
    arm64_database
    arm64_wrappers
    rm -rf "$ARM64/apt"
    touch "$ARM64/complete-build" "$ARM64/complete-$wanted"
  fi
  arm64_library
  cargo fetch --locked --offline --target "$ARM64_TARGET" >/dev/null 2>&1 || cargo fetch --locked --target "$ARM64_TARGET"
}

# ONNX Runtime for ARM64, with its notices, from its wheel.
arm64_library() {
  local folder=$ARM64/onnxruntime
  if [ -e "$folder/libonnxruntime.so.1" ]; then return; fi
  rm -rf "$folder.part"
  mkdir -p "$folder.part"
  pip_of "$PYTHON" download --quiet --no-deps --only-binary :all: --platform manylinux_2_28_aarch64 \
    --python-version 3.11 -d "$folder.part" "$ONNXRUNTIME" || fail "ONNX Runtime for ARM64 cannot be fetched (pip's output is above)"
  [ -e "$folder.part/$ARM64_WHEEL" ] && check_wheels "$folder.part" || fail "the wheel of ONNX Runtime for ARM64 is not the expected file"
  "$PYTHON" -I -m zipfile --extract "$folder.part/$ARM64_WHEEL" "$folder.part"
  mv "$folder.part/onnxruntime"/{LICENSE,ThirdPartyNotices.txt} "$folder.part"
  mv "$folder.part/onnxruntime/capi"/libonnxruntime.so.1.* "$folder.part/libonnxruntime.so.1"
  rm -rf "$folder.part/onnxruntime" "$folder.part"/*.whl "$folder.part"/*.dist-info
  mv "$folder.part" "$folder"
}

# arm64_cargo COMMAND...: cargo that builds for ARM64. Without debug information: it is not needed.
arm64_cargo() {
  local command=$1 variables=()
  shift
  if ! arm64_rust; then variables+=("RUSTC=$ARM64/bin/rustc"); fi
  env "${variables[@]}" CARGO_TARGET_DIR="$ARM64_BUILD" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$ARM64/bin/aarch64-linux-gnu-gcc" \
    CC_aarch64_unknown_linux_gnu="$ARM64/bin/aarch64-linux-gnu-gcc" AR_aarch64_unknown_linux_gnu="$ARM64/bin/aarch64-linux-gnu-ar" \
    PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR="$ARM64/root" \
    PKG_CONFIG_LIBDIR="$ARM64/root/usr/lib/aarch64-linux-gnu/pkgconfig:$ARM64/root/usr/share/pkgconfig" \
    cargo "$command" --locked --offline --target "$ARM64_TARGET" "$@"
}

# arm64_run MINUTES PROGRAM...: runs an ARM64 program under QEMU for at most that time, on a Neoverse N1, which has dot products of
# integers. (QEMU's `max` has SVE, which makes it many times slower.) Programs that it starts are this machine's, so GStreamer scans
# its plugins in its own process.
arm64_run() {
  local minutes=$1
  shift
  arm64_cpuinfo >"$ARM64/root/proc/cpuinfo"
  env GST_PLUGIN_SYSTEM_PATH=/usr/lib/aarch64-linux-gnu/gstreamer-1.0 GST_REGISTRY="$ARM64/registry" GST_REGISTRY_FORK=no \
    ORT_DYLIB_PATH="$ARM64/onnxruntime/libonnxruntime.so.1" CC="$ARM64/bin/aarch64-linux-gnu-gcc" QEMU_CPU=neoverse-n1 \
    timeout "${minutes}m" "$ARM64/tools/usr/bin/qemu-aarch64-static" -L "$ARM64/root" "$@"
}

# ONNX Runtime reads the kind of CPU from /proc/cpuinfo. Under QEMU this file is this machine's, on which it crashes.
arm64_cpuinfo() {
  local processor
  for ((processor = 0; processor < $(nproc); processor++)); do
    printf 'processor\t: %d\nFeatures\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n' $processor
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n'
  done
}

# arm64_inside COMMAND...: a command in a user namespace of its own, where the kernel starts ARM64's programs with QEMU: this
# machine's own list of such is not touched. Needs root, and Linux 6.7, since which each namespace has a list of its own.
arm64_inside() {
  local folder status=0
  folder=$(mktemp -d)
  mkfifo "$folder/ready" "$folder/go"
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --user --mount bash -euc '
    folder=$1 qemu=$2 list=/proc/sys/fs/binfmt_misc
    shift 2
    echo >"$folder/ready"
    read -r <"$folder/go"
    mount -t binfmt_misc binfmt_misc $list
    # The head of an ELF file for that machine, and which of its bits count.
    printf %s ":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$qemu:F" >$list/register
    exec "$@"' bash "$folder" "$ARM64/tools/usr/bin/qemu-aarch64-static" "$@" &
  read -r <"$folder/ready"
  # Every user and group of this machine is itself in there.
  echo '0 0 65536' >"/proc/$!/gid_map"
  echo '0 0 65536' >"/proc/$!/uid_map"
  echo >"$folder/go"
  wait $! || status=$?
  rm -r "$folder"
  return $status
}
