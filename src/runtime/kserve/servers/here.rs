//! The model in this process, beside the servers'.

use super::Model;
use crate::{engine, network::Network};

/// The model in this process, which runs when no server is ready.
#[derive(Clone)]
pub struct Here {
    pub network: Network,
    /// Crops in a batch.
    pub batch_size: usize,
}

impl Here {
    /// Checks that its batches can also run on that server's model. The error is half a sentence.
    pub fn check(&self, model: &Model) -> Result<(), String> {
        let there = model.network();
        if !engine::Network::answers_like(&self.network, &there) {
            let of = |network: &Network| {
                let Network { width, height, kind, .. } = network;
                format!("{} key points of {width}x{height} crops", kind.points())
            };
            return Err(format!("returns {}, the servers' model {}", of(&self.network), of(&there)));
        }
        match model.contract.fixed_batch.or(model.most_crops) {
            Some(most) if most < self.batch_size => Err(format!(
                "accepts {} crops at once, the servers' model {most}: batch-size={most} suits both",
                self.batch_size
            )),
            _ => Ok(()),
        }
    }
}
