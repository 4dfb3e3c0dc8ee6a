"""The plugin as built here, for tests that start GStreamer's tools or use it from Python."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def environment(folder):
    """Environment in which GStreamer finds the plugin, with its own registry in the folder. A missing build is an error, not a
    skip: scripts/test builds it first."""
    built = [ROOT / "target" / kind / "libgstrtmpose.so" for kind in ("release", "debug")]
    built = [file for file in built if file.exists()]
    if not built:
        raise FileNotFoundError("no plugin is built: cargo build --release --lib")
    newest = max(built, key=lambda file: file.stat().st_mtime)
    return os.environ | {
        "GST_PLUGIN_PATH": str(newest.parent),
        "GST_REGISTRY": f"{folder}/registry.bin",
        "ORT_DYLIB_PATH": os.environ.get("ORT_DYLIB_PATH", str(ROOT / ".deps/onnxruntime/libonnxruntime.so.1")),
    }
