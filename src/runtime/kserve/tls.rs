//! TLS, from the user's files.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::platform::files;

/// No certificate is larger.
const LARGEST_FILE: u64 = 1 << 20;

/// Files in PEM.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// Authorities whose servers are trusted; none: the system's.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and key.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// The error is a sentence that names the property.
pub fn config(files: &Files) -> Result<ClientTlsConfig, String> {
    let config = ClientTlsConfig::new();
    let config = match &files.ca {
        Some(ca) => config.ca_certificate(Certificate::from_pem(read(
            "server-ca-file",
            ca,
            "-----BEGIN CERTIFICATE",
        )?)),
        None => config.with_native_roots(),
    };
    match (&files.certificate, &files.key) {
        (None, None) => Ok(config),
        (Some(certificate), Some(key)) => Ok(config.identity(Identity::from_pem(
            read("server-cert-file", certificate, "-----BEGIN CERTIFICATE")?,
            read("server-key-file", key, "PRIVATE KEY-----")?,
        ))),
        (Some(_), None) => Err("server-cert-file is set, but server-key-file is not: set both".into()),
        (None, Some(_)) => Err("server-key-file is set, but server-cert-file is not: set both".into()),
    }
}

fn read(property: &str, file: &Path, mark: &str) -> Result<Vec<u8>, String> {
    let bytes = files::read(file, LARGEST_FILE)
        .map_err(|why| format!("The file {} in {property} cannot be read: {why}", file.display()))?;
    // For a file in another form, the library's message names neither file nor property.
    if bytes.windows(mark.len()).any(|window| window == mark.as_bytes()) {
        return Ok(bytes);
    }
    Err(format!(
        "The file {} in {property} is not in PEM, or contains something else: it needs a line with {mark}",
        file.display()
    ))
}
