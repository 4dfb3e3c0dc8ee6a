//! The file of `location`: whom it shows is nobody else's business.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Readable and writable by its owner alone.
const MODE: u32 = 0o600;

/// A new file, or with `overwrite` also one that is there: it is emptied and keeps its permissions.
pub fn create(path: &Path, overwrite: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path)
}
