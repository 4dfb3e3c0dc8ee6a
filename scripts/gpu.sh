# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are used by those who source this
# Sourced by scripts/setup: chooses the build of ONNX Runtime for this machine's NVIDIA GPUs. GPU=1 asks the driver. GPU=cuda12
# and GPU=cuda13 choose without a driver, for an image that is built on a machine without a GPU. ARM64 has only a build for
# CUDA 13.

# The architectures that the builds hold machine code for were read from the files.
readonly CUDA13_DRIVER=580 CUDA13_CAPABILITY=75 CUDA12_DRIVER=525 CUDA12_CAPABILITY=60
# For ARM64: an Ada GPU, Grace Hopper, and Blackwell from GB10 (DGX Spark) on. None for Jetsons, nor for GB200.
readonly ARM64_CAPABILITIES='89 90 120 121'
# The machine's name, if the firmware gives one.
DEVICE_MODEL=${DEVICE_MODEL:-/proc/device-tree/model}

# Sets gpu_build to cuda12 or cuda13, and gpu_found to what was found.
choose_gpu_build() {
  local gpus name capability driver lowest=999 major=0 remedy arm64=''
  if [ "$(uname -m)" = aarch64 ]; then arm64=1; fi
  case $GPU in
    cuda12 | cuda13)
      if [ -n "$arm64" ] && [ "$GPU" = cuda12 ]; then fail "there is no build of ONNX Runtime for CUDA 12 for ARM64 on PyPI, only GPU=cuda13."; fi
      gpu_build=$GPU gpu_found="chosen by GPU=$GPU"
      return
      ;;
    1) ;;
    *) fail "GPU=$GPU is not known: set GPU=1 to ask the driver, or GPU=cuda12 or GPU=cuda13." ;;
  esac
  remedy="Install NVIDIA's driver (Debian: nvidia-driver, from non-free), restart, and run this again"
  # A Jetson before JetPack 7 has no nvidia-smi.
  if [ -n "$arm64" ] && grep -qs Jetson "$DEVICE_MODEL"; then
    fail "$(tr -d '\0' <"$DEVICE_MODEL"): ONNX Runtime on PyPI has no code for a Jetson's GPU. Leave out GPU=1, and name NVIDIA's" \
      "own build for Jetson by ort-library= or ORT_DYLIB_PATH, if you have one."
  fi
  has nvidia-smi || fail "there is no nvidia-smi here, so no NVIDIA driver. $remedy; without a GPU leave out GPU=1."
  gpus=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader) ||
    fail "nvidia-smi fails (its output is above), so the driver does not work. $remedy."
  while IFS=, read -r name capability driver; do
    capability=$(tr -dc 0-9 <<<"$capability")
    if [ -n "$arm64" ] && [ -n "$capability" ] && [[ " $ARM64_CAPABILITIES " != *" $capability "* ]]; then
      fail "$name has compute capability ${capability%?}.${capability: -1}: ONNX Runtime for ARM64 on PyPI has code for 8.9, 9.0, 12.0 and" \
        "12.1 alone. Leave out GPU=1 to run on the CPU, or name another build by ort-library= or ORT_DYLIB_PATH."
    fi
    if [ -n "$capability" ] && [ "$capability" -lt "$lowest" ]; then
      lowest=$capability major=$(tr -dc 0-9 <<<"${driver%%.*}") gpu_found="$name, compute capability ${capability%?}.${capability: -1}, driver${driver}"
    fi
  done <<<"$gpus"
  [ "$lowest" != 999 ] || fail "nvidia-smi lists no GPU. $remedy."
  if [ -n "$arm64" ] && [ "$major" -lt "$CUDA13_DRIVER" ]; then
    fail "$gpu_found: ONNX Runtime for ARM64 needs CUDA 13, so driver $CUDA13_DRIVER or newer. Update the driver and run this again."
  elif [ "$lowest" -lt "$CUDA12_CAPABILITY" ]; then
    fail "$gpu_found: cuDNN 9 needs compute capability 6.0 (Pascal) or newer. Leave out GPU=1 to run on the CPU."
  elif [ "$major" -lt "$CUDA12_DRIVER" ]; then
    fail "$gpu_found: CUDA 12 needs driver $CUDA12_DRIVER or newer, CUDA 13 $CUDA13_DRIVER. Update the driver and run this again."
  # Compute capability 10 (B200, GB200) has no code in the CUDA 13 build; the driver translates the CUDA 12 build's.
  elif [ "$lowest" -lt "$CUDA13_CAPABILITY" ] || [ "$major" -lt "$CUDA13_DRIVER" ] || [ "${lowest%?}" = 10 ]; then
    gpu_build=cuda12
  else
    gpu_build=cuda13
  fi
}

# Sizes of a build's wheels: download and disk, in MB.
gpu_megabytes() { if [ "$gpu_build" = cuda12 ]; then echo 1820 3030; else echo 1350 2100; fi; }

gpu_requirements() { echo "scripts/requirements-$gpu_build.txt"; }
gpu_complete() { cmp -s "$(gpu_requirements)" .deps/gpu/complete; }

# The folder is made whole or not at all.
fetch_gpu() {
  rm -rf .deps/gpu .deps/gpu.part
  pip install --no-deps --no-cache-dir --only-binary :all: --target .deps/gpu.part -r "$(gpu_requirements)"
  (cd .deps/gpu.part/onnxruntime/capi && ln -s libonnxruntime.so.1.* libonnxruntime.so.1)
  cp "$(gpu_requirements)" .deps/gpu.part/complete
  mv .deps/gpu.part .deps/gpu
}
