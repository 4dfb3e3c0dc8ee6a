//! The user's files: reading them, and quoting them in messages.

use std::{fs::File, io::Read, path::Path};

/// Reads a whole file of at most `most` bytes. The error completes a sentence that begins with 'cannot be read: '. Only
/// files are opened: a pipe could block, and a device has no end.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let of_system = |error: std::io::Error| {
        let text = error.to_string();
        // The system's error number does not help users.
        text.split(" (os error").next().unwrap_or_default().to_string()
    };
    let kind = std::fs::metadata(path).map_err(of_system)?;
    if kind.is_dir() {
        return Err("it is a folder".to_string());
    }
    if !kind.is_file() {
        return Err("it is a device or a pipe, not a file".to_string());
    }
    let too_large = || Err(format!("it has more than {most} bytes"));
    if kind.len() > most {
        return too_large();
    }
    let mut bytes = Vec::with_capacity(kind.len() as usize);
    // It may grow meanwhile; and some of the system's files say that they are empty.
    let read =
        File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(of_system)?;
    if read as u64 > most { too_large() } else { Ok(bytes) }
}

/// Longest text that a message quotes: names in a file and lists of a graph's nodes can be endless.
const MAX_CHARS: usize = 240;

/// The text, or as much of its beginning as fits into a message, on one line.
pub(crate) fn bounded(text: &str) -> String {
    let printable = |text: &str| text.replace(char::is_control, " ");
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{} ...", printable(&text[..end]).trim_end()),
        None => printable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_read_and_only_as_much_as_is_allowed() {
        let path = std::env::temp_dir().join(format!("rtmpose-files-{}", std::process::id()));
        std::fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap(), [7; 10]);
        assert_eq!(read(&path, 9).unwrap_err(), "it has more than 9 bytes");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&path, 9).unwrap_err(), "No such file or directory");
        assert_eq!(read(&std::env::temp_dir(), 9).unwrap_err(), "it is a folder");
        // The first has no end; the second reports a size of 0.
        assert_eq!(read(Path::new("/dev/zero"), 9).unwrap_err(), "it is a device or a pipe, not a file");
        assert_eq!(read(Path::new("/proc/self/maps"), 9).unwrap_err(), "it has more than 9 bytes");
    }

    #[test]
    fn quoted_texts_are_short_and_on_one_line() {
        let text = bounded(&"ä".repeat(1000));
        assert_eq!(text.chars().count(), MAX_CHARS + 4);
        assert!(text.ends_with("ä ..."));
        assert_eq!(bounded("a name\nwith\u{1b}[31m control"), "a name with [31m control");
    }
}
