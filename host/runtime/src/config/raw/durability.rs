//! The words of checkpoints, the input log and poison records.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often the effects of a record are in state and output after a failure.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum CheckpointingWord {
    /// Once.
    ExactlyOnce,
    /// Once or more; no input waits for another at a barrier.
    AtLeastOnce,
}

/// Which input is logged before it is processed.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum WalWord {
    /// What cannot be read a second time: tcp and stdin.
    Auto,
    /// All of it.
    Inputs,
}

/// What happens to a record that an operator cannot process.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum PoisonWord {
    /// The job fails, and is not restarted.
    Fail,
    /// It is left out and counted.
    Skip,
    /// It is written to `dead-letter-dir`.
    DeadLetter,
}
