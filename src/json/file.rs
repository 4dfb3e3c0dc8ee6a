//! The files in `location`. They show people, so only their owner may read them.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{coco, failure::Failure, settings::Format};

/// Readable and writable by its owner alone.
const MODE: u32 = 0o600;

/// What to do with an existing file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Existing {
    Refused,
    /// Emptied; it keeps its permissions.
    Overwritten,
    /// Continued.
    Continued,
}

/// Where the texts of frames are written.
pub enum Files {
    /// Each frame's after the one before.
    One { path: PathBuf, file: File },
    /// Each frame's into a separate file.
    Numbered { pattern: Pattern, existing: Existing },
    /// The list of people, which is complete after each frame.
    List { path: PathBuf, file: File, list: coco::List, length: u64 },
}

impl Files {
    pub fn open(location: &str, format: Format, existing: Existing) -> Result<Self, Failure> {
        if existing == Existing::Continued && format != Format::Lines {
            return Err(Failure::settings(
                "The property append is set, but works with format=lines only: leave it unset, or set overwrite=true",
            ));
        }
        if format == Format::OpenPose {
            let pattern = Pattern::parse(location).ok_or_else(|| {
                let text = format!(
                    "The property location is {location}, but format=openpose writes a file for each frame: set a \
                     pattern with one %d, such as out/%012d_keypoints.json"
                );
                Failure::settings(text)
            })?;
            return Ok(Self::Numbered { pattern, existing });
        }
        let path = PathBuf::from(location);
        let mut file = create(&path, existing)?;
        let prepared = match existing {
            Existing::Continued => end_the_last_line(&mut file),
            _ => Ok(()),
        };
        prepared.map_err(|error| Failure::write(&path, &error))?;
        if format == Format::Lines {
            return Ok(Self::One { path, file });
        }
        let mut files = Self::List { path, file, list: coco::List::default(), length: 0 };
        files.write(0, b"")?;
        Ok(files)
    }

    /// Writes the text of a frame. Unbuffered, so that a reader who follows the file gets complete texts at once.
    pub fn write(&mut self, number: u64, text: &[u8]) -> Result<(), Failure> {
        match self {
            Self::One { path, file } => file.write_all(text).map_err(|error| Failure::write(path, &error)),
            Self::Numbered { pattern, existing } => {
                let path = pattern.path(number);
                let mut file = create(&path, *existing)?;
                file.write_all(text).map_err(|error| Failure::write(&path, &error))
            }
            // Overwrites the list's end, and adds an end of its own: whatever happens next, the file is complete.
            Self::List { path, file, list, length } => {
                let mut text = list.add(text);
                let more = text.len() as u64;
                text.extend_from_slice(coco::END);
                file.write_all_at(&text, *length).map_err(|error| Failure::write(path, &error))?;
                *length += more;
                Ok(())
            }
        }
    }
}

fn create(path: &Path, existing: Existing) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    match existing {
        Existing::Refused => options.create_new(true),
        Existing::Overwritten => options.create(true).truncate(true),
        Existing::Continued => options.create(true).append(true).read(true),
    };
    options.open(path).map_err(|error| Failure::create(path, &error))
}

/// A writer that was killed may have left half a line, which must not spoil the next one.
fn end_the_last_line(file: &mut File) -> io::Result<()> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// A path with the number of the frame in it, as in C's `%012d`; `%%` is a percent sign.
pub struct Pattern {
    before: String,
    width: usize,
    after: String,
}

impl Pattern {
    /// None if there is not exactly one number, or anything else after a percent sign.
    fn parse(text: &str) -> Option<Self> {
        let (mut parts, mut width) = (vec![String::new()], None);
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let part = parts.last_mut()?;
            if letter != '%' {
                part.push(letter);
            } else if letters.next_if_eq(&'%').is_some() {
                part.push('%');
            } else {
                let digits: String = std::iter::from_fn(|| letters.next_if(char::is_ascii_digit)).collect();
                // Of the widths, only those with leading zeros are useful here.
                let is_width = digits.is_empty() || (digits.starts_with('0') && digits.len() <= 3);
                (letters.next() == Some('d') && is_width && width.is_none()).then_some(())?;
                width = Some(digits.parse().unwrap_or(0));
                parts.push(String::new());
            }
        }
        let (after, before) = (parts.pop()?, parts.pop()?);
        Some(Self { before, width: width?, after })
    }

    fn path(&self, number: u64) -> PathBuf {
        format!("{}{number:0width$}{}", self.before, self.after, width = self.width).into()
    }
}

impl Failure {
    fn create(path: &Path, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            ErrorKind::AlreadyExists => "; set another location, overwrite=true or append=true",
            _ => "",
        };
        let text = format!("The file {} cannot be created: {error}{remedy}", path.display());
        Self { kind: gst::ResourceError::OpenWrite.into(), text }
    }

    fn write(path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::StorageFull => gst::ResourceError::NoSpaceLeft,
            _ => gst::ResourceError::Write,
        };
        Self { kind: kind.into(), text: format!("Writing to {} failed: {error}", path.display()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_c() {
        let name =
            |text: &str| Pattern::parse(text).map(|pattern| pattern.path(42).to_str().unwrap().to_string());
        assert_eq!(name("out/cam1_%012d_keypoints.json").unwrap(), "out/cam1_000000000042_keypoints.json");
        assert_eq!(name("%d").unwrap(), "42");
        assert_eq!(name("100%%/%03d").unwrap(), "100%/042");
        for wrong in ["", "people.json", "%", "%s", "%d%d", "%5d", "%0999d", "%-3d", "%%d"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
