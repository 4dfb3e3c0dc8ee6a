pub mod pose;
