//! Checks what a job file says and fills in what it leaves out.

mod bounds;
mod connectors;
mod job;
mod operators;

pub(super) use job::job;
