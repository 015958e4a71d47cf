//! Log lines of a guest: limited in rate and size, escaped, with the operator's name on them.
//!
//! A line over the rate of the task or of its tenant is dropped and counted; the next line that gets through says
//! how many were. The rate is the task's, not the sandbox's: one that takes the place of another begins with what
//! that has left. Never blocks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use tidemill_core::limits::{Limits, MESSAGE_BYTES_MAX};
use tidemill_core::quota::{TenantUsage, TokenBucket};

use crate::component::TaskIdentity;

/// How severe a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The log lines of a task, counted over all its sandboxes.
#[derive(Debug, Default)]
pub(crate) struct LogRate {
    bucket: Mutex<Option<TokenBucket>>,
    dropped: AtomicU64,
}

impl LogRate {
    /// Whether a line may be written now.
    fn admit(&self, lines_per_second: u32, tenant: &TenantUsage, now_us: u64) -> bool {
        let lines = u64::from(lines_per_second);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = bucket.get_or_insert_with(|| TokenBucket::new(lines, lines, now_us));
        let is_admitted = bucket.has(1, now_us) && tenant.log_lines.take(1, now_us);
        if is_admitted {
            bucket.charge(1, now_us);
        } else {
            self.dropped.fetch_add(1, Relaxed);
            tenant.dropped_log_lines.fetch_add(1, Relaxed);
        }
        is_admitted
    }
}

fn monotonic_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

pub(crate) struct GuestLog {
    job: String,
    operator: String,
    task: u32,
    line_bytes: usize,
    lines_per_second: u32,
    rate: Arc<LogRate>,
    tenant: Arc<TenantUsage>,
    /// The newest line written to stderr: a panic's message, when a trap follows.
    last_stderr: String,
}

impl GuestLog {
    pub(crate) fn new(identity: &TaskIdentity, limits: &Limits) -> Self {
        Self {
            job: identity.job.clone(),
            operator: identity.operator.clone(),
            task: identity.task,
            line_bytes: limits.log_line_bytes,
            lines_per_second: limits.log_lines_per_second,
            rate: identity.log_rate.clone(),
            tenant: identity.tenant.clone(),
            last_stderr: String::new(),
        }
    }

    /// Bytes of a line at most; more need not be kept for it.
    pub(crate) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// Writes a line of stdout or stderr.
    pub(crate) fn write_stream(&mut self, is_stderr: bool, line: &[u8]) {
        let line = String::from_utf8_lossy(&line[..line.len().min(self.line_bytes)]);
        if line.trim().is_empty() {
            return;
        }
        if is_stderr {
            self.remember(&line);
        }
        let level = if is_stderr { Level::Warn } else { Level::Info };
        self.write(level, &line, &[]);
    }

    /// Keeps a line of stderr in case a trap follows: the newest, or all of a panic, which comes as
    /// "thread ... panicked at ...:", the message, and a note on backtraces that helps nobody here.
    fn remember(&mut self, line: &str) {
        if line.starts_with("note: run with `RUST_BACKTRACE") {
            return;
        }
        let panicked = self.last_stderr.starts_with("thread");
        if !panicked || line.starts_with("thread") {
            self.last_stderr.clear();
        } else if self.last_stderr.len() < MESSAGE_BYTES_MAX {
            self.last_stderr.push('\n');
        } else {
            return;
        }
        self.last_stderr.push_str(line);
    }

    /// Forgets what an earlier call wrote to stderr.
    pub(crate) fn begin_call(&mut self) {
        self.last_stderr.clear();
    }

    /// Takes the newest line of stderr.
    pub(crate) fn take_last_stderr(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.last_stderr);
        (!line.is_empty()).then_some(line)
    }

    /// Writes a line.
    pub(crate) fn write(&mut self, level: Level, message: &str, fields: &[(String, String)]) {
        if !self.rate.admit(self.lines_per_second, &self.tenant, monotonic_us()) {
            return;
        }
        let message = escape(message, self.line_bytes);
        let mut rest = self.line_bytes.saturating_sub(message.len());
        let mut shown = String::new();
        for (name, value) in fields {
            let field = format!(" {}={}", escape(name, rest), escape(value, rest));
            if field.len() > rest {
                break;
            }
            rest -= field.len();
            shown.push_str(&field);
        }
        let dropped = self.rate.dropped.swap(0, Relaxed);
        let (job, operator, task) = (&*self.job, &*self.operator, self.task);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "guest", job, operator, task, dropped, "{message}{shown}")
            };
        }
        match level {
            Level::Trace => line!(trace),
            Level::Debug => line!(debug),
            Level::Info => line!(info),
            Level::Warn => line!(warn),
            Level::Error => line!(error),
        }
    }
}

/// Cuts to `max` bytes and escapes control characters, so that a guest can neither forge a line nor
/// steer a terminal, nor turn the direction of the words behind its own.
pub(crate) fn escape(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if out.len() >= max {
            out.push('…');
            break;
        }
        if c.is_control() || is_layout(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Line and paragraph separators, and what turns the direction of text.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use tidemill_core::quota::RateLimit;

    use super::*;

    fn log(lines_per_second: u32) -> GuestLog {
        GuestLog::new(
            &TaskIdentity::default(),
            &Limits { log_lines_per_second: lines_per_second, ..Limits::default() },
        )
    }

    #[test]
    fn lines_over_the_rate_are_dropped_until_the_next_second() {
        let (rate, tenant) = (LogRate::default(), TenantUsage::default());
        let admitted: Vec<bool> = (0..4).map(|_| rate.admit(2, &tenant, 7)).collect();
        assert_eq!(admitted, [true, true, false, false]);
        assert_eq!(rate.dropped.load(Relaxed), 2);
        assert!(rate.admit(2, &tenant, 1_000_007));
        let silent = TenantUsage { log_lines: RateLimit::new(1, 1), ..TenantUsage::default() };
        let admitted: Vec<bool> = (8..10).map(|now_us| rate.admit(9, &silent, now_us)).collect();
        assert_eq!(admitted, [true, false]);
    }

    #[test]
    fn control_characters_are_escaped_and_long_lines_cut() {
        assert_eq!(escape("a\n\u{1b}[31mb", 100), "a\\n\\u{1b}[31mb");
        assert_eq!(escape("a\u{202e}b\u{2028}", 100), "a\\u{202e}b\\u{2028}");
        assert_eq!(escape("abcdef", 3), "abc…");
    }

    #[test]
    fn the_message_of_a_panic_is_kept() {
        let mut log = log(100);
        log.write_stream(true, b"thread '<unnamed>' panicked at src/lib.rs:1:1:");
        log.write_stream(true, b"out of tide");
        log.write_stream(
            true,
            b"note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        );
        let kept = log.take_last_stderr().unwrap_or_default();
        assert!(kept.contains("lib.rs:1:1") && kept.ends_with("out of tide"));
        assert_eq!(log.take_last_stderr(), None);
    }
}
