//! The suite by itself.
fn main() {}
