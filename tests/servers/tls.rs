//! TLS, with certificates made here: who is let in, and who is not.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gstrtmpose::{
    engine::Error,
    runtime::kserve::{KserveBackend, Metadata},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};

use super::{
    double::{Double, Model},
    rig::{Rig, backend, open},
};

/// A folder that is deleted when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rtmpose-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for that name, valid up to that year, and its key.
fn certificate(authority: &Authority, name: &str, year: i32) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate, key)
}

/// A server with that certificate. With `clients`, it accepts only clients with a certificate of that
/// authority.
fn start(certificate: &(rcgen::Certificate, KeyPair), clients: Option<&Authority>) -> Double {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.1.serialize_der()));
    let mut config = builder.with_single_cert(vec![certificate.0.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Double::start_at("127.0.0.1:0".parse().unwrap(), Model::default(), Some(acceptor), None)
}

/// The result of a connection under that name.
fn asked(double: &Double, name: &str, ca: Option<&Path>) -> KserveBackend {
    let mut backend = backend(&format!("grpcs://{name}:{}", double.at.port()));
    backend.tls.ca = ca.map(Path::to_path_buf);
    backend.timeout = Duration::from_millis(500);
    backend
}

#[track_caller]
fn refused(result: Result<Rig, Error>, words: &[&str]) {
    let error = result.map(|_| ()).unwrap_err();
    assert!(words.iter().all(|word| error.message.contains(word)), "{error}");
}

#[test]
fn a_server_is_trusted_by_its_certificate_alone() {
    let folder = Folder::new("trust");
    let (ours, other, namesake) = (authority("ours"), authority("other"), authority("ours"));
    let ca = folder.write("ca.pem", &ours.pem());
    let right = start(&certificate(&ours, "localhost", 2100), None);
    let rig = open(asked(&right, "localhost", Some(&ca))).unwrap();
    rig.run(1).unwrap();
    drop(rig);

    refused(open(asked(&right, "localhost", None)), &["UnknownIssuer", "server-ca-file"]);
    for other in [other, namesake] {
        let other_ca = folder.write("other.pem", &other.pem());
        refused(
            open(asked(&right, "localhost", Some(&other_ca))),
            &["certificate", "server-ca-file", "grpcs://localhost:"],
        );
    }
    let expired = start(&certificate(&ours, "localhost", 2020), None);
    refused(open(asked(&expired, "localhost", Some(&ca))), &["certificate", "xpired"]);
    let stranger = start(&certificate(&ours, "gpu9.example.org", 2100), None);
    refused(
        open(asked(&stranger, "localhost", Some(&ca))),
        &["certificate", "use the name in the server's certificate"],
    );
    // A server without TLS for grpcs://, and a server with TLS for grpc://.
    let plain = Double::start(Model::default());
    refused(open(asked(&plain, "localhost", Some(&ca))), &["grpcs://localhost:"]);
    let mut unencrypted = backend(&right.name());
    unencrypted.timeout = Duration::from_millis(100);
    refused(open(unencrypted), &[&right.name()]);
}

#[test]
fn a_client_shows_its_own_certificate() {
    let folder = Folder::new("client");
    let (ours, other) = (authority("ours"), authority("other"));
    let ca = folder.write("ca.pem", &ours.pem());
    let double = start(&certificate(&ours, "localhost", 2100), Some(&ours));
    let with = |name: &str, authority: &Authority| {
        let (certificate, key) = certificate(authority, "camera-1", 2100);
        let mut backend = asked(&double, "localhost", Some(&ca));
        backend.tls.certificate = Some(folder.write(&format!("{name}.pem"), &certificate.pem()));
        backend.tls.key = Some(folder.write(&format!("{name}.key"), &key.serialize_pem()));
        backend
    };
    open(with("ours", &ours)).unwrap().run(1).unwrap();
    refused(open(with("other", &other)), &["grpcs://localhost:"]);
    refused(open(asked(&double, "localhost", Some(&ca))), &["grpcs://localhost:"]);
}

#[test]
fn files_that_are_no_certificates_are_told_of_by_property() {
    let folder = Folder::new("files");
    let text = folder.write("text.pem", "no certificate");
    let double = start(&certificate(&authority("ours"), "localhost", 2100), None);
    refused(open(asked(&double, "localhost", Some(&text))), &["text.pem in server-ca-file is not in PEM"]);
    let missing = folder.0.join("missing.pem");
    refused(
        open(asked(&double, "localhost", Some(&missing))),
        &["missing.pem in server-ca-file cannot be read: No such file"],
    );
    let mut half = asked(&double, "localhost", None);
    half.tls.certificate = Some(text.clone());
    refused(open(half), &["server-cert-file is set, but server-key-file is not"]);
    let mut half = asked(&double, "localhost", None);
    half.tls.key = Some(text);
    refused(open(half), &["server-key-file is set, but server-cert-file is not"]);
}

/// Whatever fails, the secret is in no message, no statistic and no debug output.
#[test]
fn secrets_are_in_no_text() {
    let double = Double::start(Model::default());
    let mut asked = backend(&double.name());
    asked.metadata = Metadata::parse("authorization=Bearer hunter2").unwrap();
    asked.timeout = Duration::from_millis(100);
    let debug = format!("{:?}", asked.metadata);
    let rig = open(asked).unwrap();
    assert_eq!(double.headers()["authorization"], "Bearer hunter2");
    double.fail(super::double::Fault::Refuse);
    let error = rig.run(1).unwrap_err();
    let texts =
        [debug, error, format!("{:?}", rig.told), rig.news().join(" "), format!("{:?}", rig.stream.places())];
    assert!(texts.iter().all(|text| !text.contains("hunter2")), "{texts:?}");
}
