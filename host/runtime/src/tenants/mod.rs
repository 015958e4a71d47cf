//! Tenants: what the host's operator allows each of them.

mod grants;

pub use grants::{AllowedDirectory, GrantPolicy, GrantRefusal};
