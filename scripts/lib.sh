# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are used by those who source this
# Functions and paths that the scripts share. Sourced, not run. Changes to the project's root.
set -euo pipefail
script=$(realpath "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Versions that are downloaded; THIRD-PARTY.md names each, too.
ONNXRUNTIME=onnxruntime==1.31.1
VIDEO_PACKAGE=sports2d==0.8.34
VIDEO_IN_PACKAGE=Sports2D/Demo/demo.mp4
VIDEO_SHA256=d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039
# Real pictures for scripts/parity.
PICTURES_PACKAGE=scikit-image==0.25.2
PICTURES=(astronaut.png chelsea.png coffee.png motorcycle_left.png retina.jpg rocket.jpg)

LIBRARY=.deps/onnxruntime/libonnxruntime.so.1
# Exists after `make setup GPU=1`. Its ONNX Runtime also runs on the CPU.
GPU_LIBRARY=.deps/gpu/onnxruntime/capi/libonnxruntime.so.1
LIBRARY_NOTICES=.deps/onnxruntime
DEMO_VIDEO=.deps/video/demo.mp4
PYTHON=.deps/venv/bin/python
PLUGIN=target/release/libgstrtmpose.so

# Without this variable ONNX Runtime reports every run to its makers, also from Python.
export ORT_DISABLE_TELEMETRY=1
# Python must use the venv's packages only: these two variables would put others first.
unset PYTHONHOME PYTHONPATH

# Moves conda's folders, and shims such as pyenv's, to the end of PATH. conda's pkg-config, cc and
# gst-launch-1.0 do not know the system's GStreamer, and a shim may not run. Programs that only these folders
# have are still found.
system_first() {
  local folder first='' last=''
  while IFS= read -r -d : folder; do
    if [ -d "$folder/../conda-meta" ] || [ "${folder##*/}" = shims ]; then
      last+=:$folder
    else
      first+=:$folder
    fi
  done <<<"$PATH:"
  PATH=${first#:}$last
  PATH=${PATH#:}
}
system_first

# check_wheels FOLDER: checks the wheels in FOLDER against the known checksums. (pip compares each wheel with
# its index.)
check_wheels() {
  local sum name
  while read -r sum name; do
    if [ -e "$1/$name" ] && [ "$(sha256sum <"$1/$name")" != "$sum  -" ]; then return 1; fi
  done <scripts/wheels.sha256
}

say() { printf '%s\n' "$*"; }

# Ends the script with a message that names the thing and the remedy.
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# check_links PAGE...: checks that all files that the pages link to exist.
check_links() {
  local page link
  for page; do
    while read -r link; do
      [ -e "$(dirname "$page")/$link" ] || fail "$page links to $link, which is not there"
    done < <(sed -nE 's/\]\(/\n&/g; p' "$page" | sed -nE 's/^\]\(([^):#]+)[)#].*/\1/p')
  done
}

has() { command -v "$1" >/dev/null; }

# Started with sudo, a script continues as the user who called it. As root, the checkout's files would come to
# belong to root, and the user's Rust would not be found. A command that needs root asks sudo for it; a script
# that needs root sets stays_root before it sources this file. The variables that scripts and the Makefile
# describe are passed on:
PASSED_ON=VIDEO,DETECTOR,DEVICE,MINUTES,GPU,ARCH,CI,RUNS,SIDE,ALONE,NAMES,PROGRAMS,ORDERS,COUNT,FIRST,KEEP,CHROMIUM,SCREENSHOTS
PASSED_ON+=,ADVISORIES,HOMEPAGE,DEBFULLNAME,DEBEMAIL
step_down() {
  if [ -n "${stays_root:-}" ] || [ "$(id -u)" != 0 ] || [ -z "${SUDO_USER:-}" ] || [ "$SUDO_USER" = root ]; then return; fi
  exec runuser --login --whitelist-environment=$PASSED_ON "$SUDO_USER" \
    --command "cd $(printf '%q' "$PWD") && exec $(printf '%q ' "$script" "$@")"
}

# pip_of PYTHON ARGUMENT...: pip of a venv's Python. A user's pip.conf may ask for installation into the user's folder, which a
# venv refuses.
pip_of() { PIP_USER=0 "$1" -I -m pip --disable-pip-version-check "${@:2}"; }

# After set-up every crate of Cargo.lock is there, so nothing later needs the network.
cargo_offline() {
  local command=$1
  shift
  cargo "$command" --locked --offline "$@"
}

# Builds the release build of the plugin, with the examples that scripts run. All scripts use this: with other
# targets cargo selects other features for shared crates, and builds them and the plugin again.
TARGETS=(--lib --example annotate --example probe --example cameras)
build_plugin() { cargo_offline build --release "${TARGETS[@]}" "$@"; }

# The ONNX Runtime to use: the GPU's, if it was set up.
library() { if [ -e "$GPU_LIBRARY" ]; then echo "$GPU_LIBRARY"; else echo "$LIBRARY"; fi; }

# GStreamer finds the plugin of this checkout, and the plugin finds the ONNX Runtime beside it.
use_checkout() {
  export GST_PLUGIN_PATH="$PWD/target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
  export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$PWD/$(library)}"
}

step_down "$@"
