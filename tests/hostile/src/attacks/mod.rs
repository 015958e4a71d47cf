//! The hostile operators, by what they attack.

mod admission;
mod bombs;
mod connectors;
mod cpu;
mod granted;
mod host_calls;
mod isolation;
mod keys;
mod memory;
mod output;
mod quotas;
mod state;

use crate::attack::Attack;

/// All of them.
pub fn all() -> Vec<Attack> {
    groups().into_iter().flat_map(|(_, attacks)| attacks).collect()
}

/// All of them, with the names of their groups.
pub fn groups() -> Vec<(&'static str, Vec<Attack>)> {
    vec![
        ("cpu", cpu::attacks()),
        ("memory", memory::attacks()),
        ("admission", admission::attacks()),
        ("bombs", bombs::attacks()),
        ("host-calls", host_calls::attacks()),
        ("state", state::attacks()),
        ("output", output::attacks()),
        ("isolation", isolation::attacks()),
        ("granted", granted::attacks()),
        ("keys", keys::attacks()),
        ("quotas", quotas::attacks()),
        ("connectors", connectors::attacks()),
    ]
}
