//! The route table.

/// Finds the most specific route.
#[derive(Debug)]
pub struct Table;
