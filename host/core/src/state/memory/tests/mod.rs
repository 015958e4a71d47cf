//! Snapshots of the memory backend: any sequence of changes, freezes, slices of encoding, aborts and
//! crashes against a plain model, and the facts of single cases.

mod cases;
mod containers;
mod migrating;
mod model;
mod random;
mod world;
