//! Log lines with fields.
//!
//! Lines go to the host at once, whatever becomes of the call. They are for events that a person
//! should know of, not for records: the host limits them.

use std::fmt::Display;

use crate::bindings::tidemill::operator::log as raw;
use crate::host;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Steps of a computation.
    Trace,
    /// Facts for the author of the operator.
    Debug,
    /// Facts for whoever runs the job.
    Info,
    /// Something is odd; the job goes on.
    Warn,
    /// Something failed.
    Error,
}

/// Writes a log line; the macros [`info!`](crate::info) and so on are shorter.
pub fn write(level: Level, message: &str, fields: &[(&str, &dyn Display)]) {
    let level = match level {
        Level::Trace => raw::Level::Trace,
        Level::Debug => raw::Level::Debug,
        Level::Info => raw::Level::Info,
        Level::Warn => raw::Level::Warn,
        Level::Error => raw::Level::Error,
    };
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    host::log(level, message, &fields);
}

/// Writes a log line of the given level: fields first, then `;`, then the message.
///
/// ```no_run
/// use tidemill_sdk::{log_line, log::Level};
///
/// let path = "limits.json";
/// log_line!(Level::Info, path, entries = 12; "read {} entries", 12);
/// log_line!(Level::Warn, "nothing to read");
/// ```
#[macro_export]
macro_rules! log_line {
    ($level:expr, $($name:ident $(= $value:expr)?),+; $($message:tt)+) => {
        $crate::log::write(
            $level,
            &::std::format!($($message)+),
            &[$((::core::stringify!($name), &$crate::__field!($name $(= $value)?))),+],
        )
    };
    ($level:expr, $($message:tt)+) => {
        $crate::log::write($level, &::std::format!($($message)+), &[])
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __field {
    ($name:ident) => {
        $name
    };
    ($name:ident = $value:expr) => {
        $value
    };
}

/// Writes a log line at level trace: `trace!(field, other = 1; "message")`.
#[macro_export]
macro_rules! trace {
    ($($line:tt)+) => { $crate::log_line!($crate::log::Level::Trace, $($line)+) };
}

/// Writes a log line at level debug: `debug!(field, other = 1; "message")`.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::log_line!($crate::log::Level::Debug, $($line)+) };
}

/// Writes a log line at level info: `info!(field, other = 1; "message")`.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::log_line!($crate::log::Level::Info, $($line)+) };
}

/// Writes a log line at level warn: `warn!(field, other = 1; "message")`.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::log_line!($crate::log::Level::Warn, $($line)+) };
}

/// Writes a log line at level error: `error!(field, other = 1; "message")`.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::log_line!($crate::log::Level::Error, $($line)+) };
}
