//! The backend for inference servers, made from an element's properties.

use std::{sync::Arc, time::Duration};

use super::{asked::Asked, enums::Fallback, settings::Common};
use crate::{
    engine::{Error, ErrorKind},
    runtime::{
        kserve::{self, Address, KserveBackend, Metadata, TlsFiles},
        onnx::{self, OnnxBackend},
    },
    stage::properties::{Row, Table},
};

/// The largest batch-size.
const LARGEST_BATCH: usize = 64;

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Settings, text)
}

/// Properties without an effect are refused by name, so that no user relies on them.
pub(super) fn check(asked: &Asked) -> Result<(), Error> {
    let (common, default) = (asked.common, Common::default());
    let is_set = |row: &&Row<Common>| (row.text)(common) != (row.text)(&default);
    let name = |row: &Row<Common>| row.specification.name();
    if common.inference_server.is_none() {
        return match Common::rows().iter().filter(|row| row.servers).find(is_set).map(name) {
            Some(name) => Err(refused(format!(
                "{name} is set, but has no effect without inference-server: set both, or neither"
            ))),
            None => Ok(()),
        };
    }
    if let Some(name) = Common::rows().iter().filter(|row| row.here).find(is_set).map(name) {
        return Err(refused(format!(
            "{name} and inference-server are set, but {name} has no effect if servers run the model: set only one of them"
        )));
    }
    if common.model_name.is_none() {
        return Err(refused(
            "inference-server is set, but model-name is not: set model-name to the model's name on the servers",
        ));
    }
    if asked.model_file.is_some() && common.fallback == Fallback::None {
        return Err(refused(
            "model-file and inference-server are set with fallback=none, but the file is used only by fallback=cpu, \
             while no server is left: leave out one of them",
        ));
    }
    Ok(())
}

/// Batches for the servers in that list; `here` would run them in this process.
pub(super) fn backend(list: &str, asked: &Asked, here: OnnxBackend) -> Result<KserveBackend, Error> {
    let common = asked.common;
    let cannot = |property: &str, why: String| refused(format!("{property} cannot be used: {why}"));
    let addresses = Address::list(list).map_err(|why| cannot("inference-server", why))?;
    let metadata = Metadata::parse(common.server_metadata.reveal().unwrap_or_default())
        .map_err(|why| cannot("server-metadata", why))?;
    let fallback = (common.fallback == Fallback::Cpu).then(|| {
        // As large a batch as the servers accept.
        let batch_size = if asked.batch_size == 0 { LARGEST_BATCH } else { asked.batch_size };
        let backend = OnnxBackend {
            provider: onnx::Provider::Cpu,
            executors: 1,
            batch_size,
            suppresses_in_the_file: true,
            ..here
        };
        kserve::Fallback { backend: Arc::new(backend), is_named: asked.model_file.is_some() }
    });
    let file = |path: &Option<String>| path.as_ref().map(Into::into);
    let mut backend = KserveBackend::new(addresses, common.model_name.clone().unwrap_or_default());
    backend.wanted = asked.wanted;
    backend.version = common.model_version.clone().unwrap_or_default();
    backend.batch_size = asked.batch_size;
    backend.in_flight = common.inference_streams as usize;
    backend.timeout = Duration::from_nanos(common.server_timeout);
    backend.metadata = metadata;
    backend.tls = TlsFiles {
        ca: file(&common.server_ca_file),
        certificate: file(&common.server_cert_file),
        key: file(&common.server_key_file),
    };
    backend.fallback = fallback;
    Ok(backend)
}
