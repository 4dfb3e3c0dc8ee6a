pub mod meta;
pub mod pose;
