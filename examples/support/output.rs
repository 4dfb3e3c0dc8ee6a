//! Creates the folder for a program's output, or refuses it by name, before the work begins, which takes minutes.

use std::{fs, path::Path};

/// Creates the folder, with its parents, if it does not exist, and checks that a file can be written in it.
pub fn make_folder(folder: impl AsRef<Path>) -> Result<(), String> {
    // A file name without a folder.
    let folder = if folder.as_ref().as_os_str().is_empty() { Path::new(".") } else { folder.as_ref() };
    let probe = folder.join(format!(".written-by-{}", std::process::id()));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&probe, ""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| format!("{}: {error}; name a folder that can be written", folder.display()))
}

/// The same for the folder of a file that will be written.
#[allow(dead_code)] // Some programs are told a folder, others a file.
pub fn make_folder_of(file: &Path) -> Result<(), String> {
    make_folder(file.parent().unwrap_or(Path::new("/")))
}
