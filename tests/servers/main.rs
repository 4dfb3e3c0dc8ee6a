//! Batches on their way to inference servers, against a double of one on loopback that has every fault.

mod contract;
mod double;
mod faults;
mod hostile;
mod rig;
mod tls;
