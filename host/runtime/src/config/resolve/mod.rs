//! Checks what a job file says and fills in what it leaves out.

mod bounds;
mod connectors;
mod durability;
mod grants;
mod job;
mod operators;
mod restart;

pub(super) use job::job;
