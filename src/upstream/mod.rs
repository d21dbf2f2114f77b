//! (to be written)

pub mod resolve;
