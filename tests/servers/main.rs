//! Batches on their way to inference servers, tested with a fake server on this machine that has every fault.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod contract;
mod double;
mod elements;
mod faults;
mod hostile;
mod proxy;
mod real;
mod rig;
mod tls;
