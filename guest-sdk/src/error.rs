//! What an operator answers when it cannot go on.
//!
//! Invariant: there are two verdicts and no third. Either one record is bad, and the rest of the
//! batch counts, or the operator cannot work at all, and the job fails.

use std::error;
use std::fmt;
use std::num::{ParseFloatError, ParseIntError, TryFromIntError};
use std::str::Utf8Error;
use std::string::FromUtf8Error;

use crate::codec::CodecError;

/// The result of operator code.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a record, or the operator as a whole, could not be processed.
///
/// Boxed, so that `Result<(), Error>` is one word on the path of every record.
pub struct Error(Box<Verdict>);

#[derive(Debug)]
enum Verdict {
    BadRecord(String),
    Fatal(String),
}

impl Error {
    /// The record at hand cannot be processed.
    ///
    /// It leaves no trace in state or output, and goes to the poison policy of the job.
    #[cold]
    pub fn bad_record(reason: impl Into<String>) -> Self {
        Self(Box::new(Verdict::BadRecord(reason.into())))
    }

    /// The operator cannot work at all: the job fails with this message.
    #[cold]
    pub fn fatal(message: impl Into<String>) -> Self {
        Self(Box::new(Verdict::Fatal(message.into())))
    }

    /// Whether the whole job fails, and not only one record.
    pub fn is_fatal(&self) -> bool {
        matches!(*self.0, Verdict::Fatal(_))
    }

    /// The reason or message, without the verdict.
    pub fn message(&self) -> &str {
        match &*self.0 {
            Verdict::BadRecord(text) | Verdict::Fatal(text) => text,
        }
    }

    pub(crate) fn into_message(self) -> String {
        match *self.0 {
            Verdict::BadRecord(text) | Verdict::Fatal(text) => text,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Verdict::BadRecord(reason) => write!(f, "bad record: {reason}"),
            Verdict::Fatal(message) => write!(f, "fatal: {message}"),
        }
    }
}

impl error::Error for Error {}

macro_rules! bad_record_from {
    ($($source:ty),*) => {$(
        impl From<$source> for Error {
            #[cold]
            fn from(source: $source) -> Self {
                Self::bad_record(source.to_string())
            }
        }
    )*};
}

bad_record_from!(
    CodecError,
    Utf8Error,
    FromUtf8Error,
    ParseIntError,
    ParseFloatError,
    TryFromIntError
);

/// Turns any error into a verdict.
///
/// ```
/// use tidemill_sdk::{Result, ResultExt};
///
/// fn port(text: &str) -> Result<u16> {
///     text.parse().or_bad_record("port")
/// }
/// assert_eq!(
///     port("x").unwrap_err().to_string(),
///     "bad record: port: invalid digit found in string",
/// );
/// ```
pub trait ResultExt<T> {
    /// Blames the record; `what` says what was attempted.
    fn or_bad_record(self, what: &str) -> Result<T>;
    /// Gives up; `what` says what was attempted.
    fn or_fatal(self, what: &str) -> Result<T>;
}

impl<T, E: fmt::Display> ResultExt<T> for core::result::Result<T, E> {
    fn or_bad_record(self, what: &str) -> Result<T> {
        self.map_err(|source| Error::bad_record(format!("{what}: {source}")))
    }

    fn or_fatal(self, what: &str) -> Result<T> {
        self.map_err(|source| Error::fatal(format!("{what}: {source}")))
    }
}
