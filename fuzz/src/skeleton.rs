//! A skeleton's TOML.

use gstrtmpose::pose::skeleton::check;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = check(text) {
        assert!(error.chars().count() < 800, "too long: {error}");
        assert!(!error.chars().any(char::is_control), "no message: {error:?}");
    }
}
