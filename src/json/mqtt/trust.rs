//! How the broker is checked, and how this client identifies itself: certificates, and a user with a password, which is
//! never shown.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{json::failure::Failure, platform::files};

/// No certificate or password is larger.
const LARGEST_FILE: u64 = 1 << 20;
const USER: &str = "RTMPOSE_MQTT_USER";
const PASSWORD: &str = "RTMPOSE_MQTT_PASSWORD";

/// TLS with the authorities in the file, or the system's.
pub fn tls(ca_file: Option<&str>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let bytes = read("ca-file", file)?;
            for certificate in CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok) {
                // A file without a certificate is noticed below.
                let _ = roots.add(certificate);
            }
            if roots.is_empty() {
                let text = format!(
                    "The file {file} in ca-file holds no PEM certificate: set ca-file to one that does"
                );
                return Err(Failure::settings(text));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let text = "The system has no trusted authorities to check the broker's certificate with: install \
                            ca-certificates, or set ca-file";
                return Err(Failure::settings(text));
            }
        }
    }
    // An application may have chosen another provider for the whole process, or none.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    let config = config.map_err(|error| Failure::settings(format!("TLS cannot be used: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// User and password: the two lines of the file, or else the environment's variables.
pub fn credentials(file: Option<&str>) -> Result<Option<(String, String)>, Failure> {
    let Some(file) = file else {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        return match (variable(USER), variable(PASSWORD)) {
            (Some(user), password) => Ok(Some((user, password.unwrap_or_default()))),
            (None, Some(_)) => {
                Err(Failure::settings(format!("The variable {PASSWORD} is set, but {USER} is not: set both")))
            }
            (None, None) => Ok(None),
        };
    };
    let text = String::from_utf8(read("credentials-file", file)?).unwrap_or_default();
    match text.lines().collect::<Vec<_>>()[..] {
        [user, password] if !user.is_empty() => Ok(Some((user.to_string(), password.to_string()))),
        _ => Err(Failure::settings(format!(
            "The file {file} in credentials-file must have exactly two lines, the user and the password"
        ))),
    }
}

fn read(property: &str, file: &str) -> Result<Vec<u8>, Failure> {
    files::read(Path::new(file), LARGEST_FILE)
        .map_err(|why| Failure::settings(format!("The file {file} in {property} cannot be read: {why}")))
}
