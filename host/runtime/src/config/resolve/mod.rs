//! Checks what a job file says and fills in what it leaves out.

mod bounds;
mod connectors;
mod durability;
mod grants;
mod job;
mod operators;
mod restart;
mod tenants;

pub(super) use job::job;
pub(super) use tenants::tenants;
