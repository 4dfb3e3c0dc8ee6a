//! The network in this process beside the servers'.

use super::Model;
use crate::network::{Kind, Provider};

/// The network in this process, which runs when no server is there.
#[derive(Clone, Copy)]
pub struct Here {
    pub provider: Provider,
    pub kind: Kind,
    pub width: u32,
    pub height: u32,
    /// Crops in a batch.
    pub batch_size: usize,
}

impl Here {
    /// Whether the batches that it takes can go to that model, too. The error is half a sentence.
    pub fn check(&self, model: &Model) -> Result<(), String> {
        let of =
            |width, height, kind: Kind| format!("{} key points of {width}x{height} crops", kind.points());
        let contract = &model.contract;
        if (self.width, self.height, self.kind) != (contract.width, contract.height, model.kind) {
            return Err(format!(
                "gives {}, the servers' model {}",
                of(self.width, self.height, self.kind),
                of(contract.width, contract.height, model.kind)
            ));
        }
        match contract.fixed_batch.or(model.most_crops) {
            Some(most) if most < self.batch_size => Err(format!(
                "takes {} crops at once, the servers' model {most}: batch-size={most} suits both",
                self.batch_size
            )),
            _ => Ok(()),
        }
    }
}
