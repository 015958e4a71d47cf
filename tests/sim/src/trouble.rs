//! How a run ends early: the machine is off, or something is wrong.

use std::fmt::{self, Display};

use crate::disk::SimDisk;

/// Something is wrong, and which oracle says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The oracle.
    pub oracle: &'static str,
    /// What it found.
    pub message: String,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.message)
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The machine went off.
    Down,
    /// A bug.
    Violation(Violation),
}

impl From<Violation> for Trouble {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// A violation.
pub fn violation(oracle: &'static str, message: impl Display) -> Violation {
    Violation { oracle, message: message.to_string() }
}

/// The cause of an error: the machine, if it is off.
pub fn blame(disk: &SimDisk, oracle: &'static str, error: impl Display) -> Trouble {
    match disk.is_off() {
        true => Trouble::Down,
        false => violation(oracle, error).into(),
    }
}
