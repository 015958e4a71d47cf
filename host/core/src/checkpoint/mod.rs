//! Checkpoints: what makes one up, and the order in which it comes into being.

pub mod manifest;
