//! Metadata that is sent with each request to authorise it, and never shown.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names and values of a request's metadata. The values are never shown.
#[derive(Clone, Default, PartialEq)]
pub struct Metadata(HeaderMap);

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Metadata {
    /// Reads `name=value` entries, separated by commas; `\,` is a comma in a value. The error, which quotes only names,
    /// completes a sentence that begins with 'server-metadata cannot be used: '.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for entry in split(text) {
            let (name, value) =
                entry.split_once('=').ok_or("an entry has no =: write name=value".to_string())?;
            let name = name.trim().to_ascii_lowercase();
            let (Ok(known), false) = (HeaderName::try_from(&name), name.is_empty()) else {
                return Err(
                    "the name of an entry is not valid in gRPC: use letters, digits, - and _".to_string()
                );
            };
            let is_ours = ["te", "content-type", "content-length", "host", "user-agent", "connection"]
                .contains(&known.as_str());
            if is_ours || known.as_str().starts_with("grpc-") || known.as_str().ends_with("-bin") {
                return Err(format!("the name {known} is reserved by gRPC"));
            }
            let mut value = HeaderValue::from_str(value.trim())
                .map_err(|_| format!("the value of {known} is not valid in metadata: use visible ASCII"))?;
            // Nor is it stored in a compression table that later requests share.
            value.set_sensitive(true);
            headers.append(known, value);
        }
        Ok(Self(headers))
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

/// The entries between commas without a \ before them.
fn split(text: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let entry = entries.last_mut().expect("there is always one");
        match letter {
            '\\' if letters.peek() == Some(&',') => entry.extend(letters.next()),
            ',' => entries.push(String::new()),
            other => entry.push(other),
        }
    }
    entries.retain(|entry| !entry.trim().is_empty());
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let metadata = Metadata::parse(r"Authorization=Bearer a=b, x-team = one\, two ,").unwrap();
        let values: Vec<_> =
            metadata.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(values, [("authorization", "Bearer a=b"), ("x-team", "one, two")]);
        assert_eq!(Metadata::parse("").unwrap(), Metadata::default());
    }

    #[test]
    fn no_error_and_no_debug_text_shows_a_value() {
        for text in [
            "hunter2",
            "=hunter2",
            "te=hunter2",
            "grpc-timeout=hunter2",
            "a b=hunter2",
            "a=hunter2\u{1}",
            "a-bin=hunter2",
        ] {
            let error = Metadata::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let metadata = Metadata::parse("authorization=Bearer hunter2").unwrap();
        assert_eq!(format!("{metadata:?}"), r#"["authorization"]"#);
        assert!(!format!("{:?}", metadata.headers()).contains("hunter2"));
    }
}
