//! Crops of frames in GPU memory, sampled into the model's input.

use std::sync::Arc;

use super::{
    super::slot::CardCrop,
    Plan,
    device::{Address, Pinned, Stream},
};
use crate::{
    engine::{Error, ErrorKind},
    video::cuda::{Device, Memory, Task},
};

/// What samples crops on the GPU.
pub(super) struct Sampling {
    device: Arc<Device>,
    /// The kernel's tasks, on the host and on the GPU.
    tasks: Pinned<Task>,
    on_the_card: Memory,
    /// Pixels of the model's input.
    network: [u32; 2],
}

impl Sampling {
    pub(super) fn new(device: Arc<Device>, stream: &Stream, rows: usize, plan: &Plan) -> Result<Self, Error> {
        let on_the_card = device.tasks(rows).map_err(|text| Error::new(ErrorKind::Run, text))?;
        let network = [plan.contract.width, plan.contract.height];
        Ok(Self { device, tasks: stream.pinned(rows)?, on_the_card, network })
    }

    /// Starts to sample crops into their rows of the tensor at that address.
    ///
    /// # Safety
    /// The crops' frames must be held, and nothing of this touched, until the stream was waited for. The tensor has their
    /// rows.
    pub(super) unsafe fn begin(
        &mut self,
        crops: &[(usize, CardCrop)],
        stream: &Stream,
        tensor: Address,
    ) -> Result<(), Error> {
        if crops.is_empty() {
            return Ok(());
        }
        for (task, (row, crop)) in self.tasks.iter_mut().zip(crops) {
            *task = crop.task.for_row(*row);
        }
        let (address, count) = (self.on_the_card.address, crops.len() as u32);
        // SAFETY: there is room for a task for each row; the caller guarantees the rest.
        unsafe {
            stream.copy_in(&self.tasks[..crops.len()], address)?;
            self.device
                .sample(stream.handle(), address, count, self.network, tensor)
                .map_err(|text| Error::new(ErrorKind::Run, text))
        }
    }
}
