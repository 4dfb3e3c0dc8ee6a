//! NVIDIA's CUDA and cuDNN libraries, as pip installs them beside ONNX Runtime: loaded before the CUDA provider requests
//! them by name, so that users need not set the loader's path.

use std::path::{Path, PathBuf};

use once_cell::sync::OnceCell;

use super::library;

/// What ONNX Runtime's CUDA provider and cuDNN load by name, each after the libraries that it needs. The version follows the
/// point.
const LIBRARIES: [&str; 14] = [
    "libcudart.so.",
    "libcublasLt.so.",
    "libcublas.so.",
    "libnvrtc.so.",
    "libcurand.so.",
    "libcufft.so.",
    "libcudnn.so.",
    "libcudnn_graph.so.",
    "libcudnn_ops.so.",
    "libcudnn_heuristic.so.",
    "libcudnn_adv.so.",
    "libcudnn_cnn.so.",
    "libcudnn_engines_precompiled.so.",
    "libcudnn_engines_runtime_compiled.so.",
];

/// Loads the libraries in pip's folders `nvidia/*/lib` beside `onnxruntime`, once per process. Returns those that could not
/// be loaded, with the loader's messages.
pub(super) fn preload(onnxruntime: &Path) -> &'static [String] {
    static FAILED: OnceCell<Vec<String>> = OnceCell::new();
    FAILED.get_or_init(|| {
        let failed = |file: PathBuf| {
            let error = library::preload(&file).err()?;
            Some(format!("{} ({error})", file.display()))
        };
        libraries(onnxruntime).into_iter().filter_map(failed).collect()
    })
}

/// The libraries that exist, in the order of loading. The wheel of ONNX Runtime is unpacked as
/// `SITE/onnxruntime/capi/libonnxruntime.so.1.X`, NVIDIA's as `SITE/nvidia/*/lib/*.so.N`.
fn libraries(onnxruntime: &Path) -> Vec<PathBuf> {
    let Some(site) = onnxruntime.ancestors().nth(3) else { return Vec::new() };
    let files = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = files(site.join("nvidia"))
        .flat_map(|package| files(package.path().join("lib")))
        .filter_map(|file| {
            let name = file.file_name();
            let name = name.to_str()?;
            let place = LIBRARIES.iter().position(|library| {
                name.strip_prefix(library).is_some_and(|version| version.parse::<u32>().is_ok())
            })?;
            Some((place, file.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, file)| file).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn pips_libraries_are_found_in_the_order_in_which_they_need_each_other() {
        let site = std::env::temp_dir().join(format!("rtmpose-nvidia-{}", std::process::id()));
        let files = [
            "nvidia/cudnn/lib/libcudnn_ops.so.9",
            "nvidia/cudnn/lib/libcudnn.so.9",
            "nvidia/cu13/lib/libcublas.so.13",
            "nvidia/cu13/lib/libcublasLt.so.13",
            "nvidia/cu13/lib/libcublas.so.13.old",
            "nvidia/cu13/lib/libnvrtc.alt.so.13",
            "nvidia/cu13/include/libcudart.so.13",
            "onnxruntime/capi/libonnxruntime.so.1.31.1",
        ];
        for file in files {
            let file = site.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let found = libraries(&site.join("onnxruntime/capi/libonnxruntime.so.1.31.1"));
        let nowhere = libraries(Path::new("libonnxruntime.so"));
        fs::remove_dir_all(&site).unwrap();
        let order = ["cu13/lib/libcublasLt.so.13", "cu13/lib/libcublas.so.13"];
        let order = order.into_iter().chain(["cudnn/lib/libcudnn.so.9", "cudnn/lib/libcudnn_ops.so.9"]);
        assert_eq!(found, order.map(|file| site.join("nvidia").join(file)).collect::<Vec<_>>());
        assert!(nowhere.is_empty());
    }
}
