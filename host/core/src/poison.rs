//! Poison records: those that an operator cannot process. What becomes of them, and how many may be.
//!
//! Owns the rules, the sliding minute in which poison records are counted, and the words: the line of JSON
//! that a dead letter is, and the error that ends a job. Knows nothing of calls, state or queues: who finds
//! a poison record is `lane::task`. Invariant: the minute never lets more records pass than its limit in any
//! 60 seconds, and its memory does not grow with the limit.

use std::collections::VecDeque;
use std::fmt;

use crate::failure::FaultCode;

/// Name of the output that dead letters leave by, in messages and in what people see of a graph.
pub const DEAD_LETTERS: &str = "dead-letters";

/// Bytes of a key or value that a message shows; the rest is cut.
const SHOWN_BYTES_MAX: usize = 80;
const MINUTE_MS: u64 = 60_000;

/// What becomes of a poison record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPoison {
    /// The job fails, for good.
    #[default]
    Fail,
    /// It is counted and dropped.
    Skip,
    /// It is counted, and leaves by the operator's dead-letter output.
    DeadLetter,
}

/// The policy of one operator on poison records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoisonRules {
    /// What becomes of one.
    pub on_poison: OnPoison,
    /// How many one task may meet within 60 seconds before the job fails. 0 allows none.
    pub limit_per_minute: u32,
}

impl Default for PoisonRules {
    fn default() -> Self {
        Self { on_poison: OnPoison::Fail, limit_per_minute: 100 }
    }
}

/// How a record showed itself as poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoisonCause {
    /// The operator reported it; it left no effect.
    Rejected,
    /// It alone brought a new sandbox down.
    Fault(FaultCode),
}

impl PoisonCause {
    /// The stable name, as in messages and dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "REJECTED",
            Self::Fault(code) => code.name(),
        }
    }
}

/// A poison record, where it was met, and why.
#[derive(Clone, Copy, Debug)]
pub struct PoisonRecord<'a> {
    /// Name of the node.
    pub operator: &'a str,
    /// Lane of the task.
    pub lane: u32,
    /// Clock of the call, in milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// How it showed itself.
    pub cause: PoisonCause,
    /// The author's words, or what the sandbox died of.
    pub reason: &'a str,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: &'a [u8],
    /// Its event time, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl PoisonRecord<'_> {
    /// The dead letter: one JSON object, without a line break.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + self.reason.len() + self.value.len() * 9 / 8);
        out.extend_from_slice(b"{\"operator\":");
        write_text(&mut out, self.operator);
        out.extend_from_slice(format!(",\"lane\":{}", self.lane).as_bytes());
        out.extend_from_slice(format!(",\"clock_ms\":{},\"code\":", self.clock_ms).as_bytes());
        write_text(&mut out, self.cause.name());
        out.extend_from_slice(b",\"error\":");
        write_text(&mut out, self.reason);
        out.extend_from_slice(b",\"key\":");
        match self.key {
            Some(key) => write_bytes(&mut out, key),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"value\":");
        write_bytes(&mut out, self.value);
        out.extend_from_slice(format!(",\"timestamp_ms\":{}}}", self.timestamp_ms).as_bytes());
        out
    }

    /// The record as an error shows it.
    pub fn shown(&self) -> ShownRecord {
        ShownRecord {
            cause: self.cause,
            reason: self.reason.to_owned(),
            key: self.key.map(shown),
            value: shown(self.value),
        }
    }
}

/// Text where the bytes are UTF-8, `{"hex":".."}` where they are not.
fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        return write_text(out, text);
    }
    out.extend_from_slice(b"{\"hex\":\"");
    bytes.iter().for_each(|byte| out.extend_from_slice(&hex(*byte)));
    out.extend_from_slice(b"\"}");
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // DEL is legal in JSON, and steers terminals.
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex(byte));
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Bytes as a message may hold them: cut, quoted and escaped.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let rest = bytes.len() - cut.len();
    let text = String::from_utf8_lossy(cut);
    if rest == 0 { format!("{text:?}") } else { format!("{text:?} and {rest} more bytes") }
}

/// A poison record as people see it, its key and value cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRecord {
    /// How it showed itself.
    pub cause: PoisonCause,
    /// The author's words, or what the sandbox died of.
    pub reason: String,
    /// Its key, if it has one.
    pub key: Option<String>,
    /// Its value.
    pub value: String,
}

impl fmt::Display for ShownRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, reason, key, value } = self;
        write!(f, "{}: {reason} (", cause.name())?;
        if let Some(key) = key {
            write!(f, "key {key}, ")?;
        }
        write!(f, "value {value})")
    }
}

/// Poison records that a job does not allow for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoisonError {
    /// One, where none is allowed.
    #[error("a record cannot be processed: {record}")]
    Record {
        /// The record.
        record: ShownRecord,
    },
    /// More than the limit.
    #[error(
        "more than {limit_per_minute} records within a minute cannot be processed; the newest: {record}"
    )]
    Limit {
        /// The limit of the task.
        limit_per_minute: u32,
        /// The record that was one too many, or another of its call.
        record: ShownRecord,
    },
}

/// Counts poison records over the last 60 seconds.
#[derive(Debug, Default)]
pub struct PoisonMinute {
    /// When records came, in milliseconds, and how many; one entry for each millisecond with any.
    came: VecDeque<(u64, u32)>,
    within: u64,
}

impl PoisonMinute {
    /// Counts `records` more, unless that makes more than `limit` within a minute: then it answers
    /// `false` and counts none. `now_us` is monotonic.
    #[must_use]
    pub fn admit(&mut self, now_us: u64, records: u32, limit: u32) -> bool {
        let now_ms = now_us / 1000;
        while let Some((came_ms, count)) = self.came.front()
            && now_ms.saturating_sub(*came_ms) > MINUTE_MS
        {
            self.within -= u64::from(*count);
            self.came.pop_front();
        }
        if self.within + u64::from(records) > u64::from(limit) {
            return false;
        }
        self.within += u64::from(records);
        match self.came.back_mut() {
            Some((came_ms, count)) if *came_ms == now_ms => *count += records,
            _ => self.came.push_back((now_ms, records)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record<'a>(key: Option<&'a [u8]>, value: &'a [u8], reason: &'a str) -> PoisonRecord<'a> {
        let cause = PoisonCause::Fault(FaultCode::Trap);
        let operator = "count";
        PoisonRecord { operator, lane: 2, clock_ms: 7, cause, reason, key, value, timestamp_ms: -1 }
    }

    #[test]
    fn a_dead_letter_is_one_line_of_json() {
        let json =
            record(Some(b"k\"\\"), "a\tb\nc \u{1} ü \u{7f}".as_bytes(), "it\r\nfell").to_json();
        let expected = concat!(
            r#"{"operator":"count","lane":2,"clock_ms":7,"code":"TRAP","error":"it\r\nfell","#,
            r#""key":"k\"\\","value":"a\tb\nc \u0001 ü \u007f","timestamp_ms":-1}"#
        );
        assert_eq!(str::from_utf8(&json).unwrap(), expected);
    }

    #[test]
    fn bytes_that_are_no_text_are_hexadecimal_and_no_key_is_null() {
        let json = String::from_utf8(record(None, &[0xff, 0x0a], "").to_json()).unwrap();
        assert!(json.contains(r#""key":null,"value":{"hex":"ff0a"},"#), "{json}");
    }

    #[test]
    fn an_error_names_the_record_and_steers_no_terminal() {
        let value = [b"\x1b[31m".as_slice(), &[b'v'; 100]].concat();
        let record = record(Some(b"k\n"), &value, "out of luck").shown();
        let error = PoisonError::Record { record }.to_string();
        for part in ["TRAP: out of luck", r#"key "k\n""#, "25 more bytes"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains(['\x1b', '\n']), "{error}");
    }

    #[test]
    fn a_minute_forgets_what_is_older_and_counts_nothing_that_it_refused() {
        let mut minute = PoisonMinute::default();
        assert!(minute.admit(0, 3, 5) && !minute.admit(1_000_000, 3, 5));
        assert!(minute.admit(60_000_000, 2, 5) && !minute.admit(60_000_999, 1, 5));
        assert!(minute.admit(60_001_000, 3, 5) && !minute.admit(60_001_000, 1, 5));
        assert!(!PoisonMinute::default().admit(0, 1, 0));
    }

    proptest! {
        #[test]
        fn no_minute_holds_more_than_the_limit(
            steps in prop::collection::vec((0u64..30_000_000, 1u32..5), 1..60),
            limit in 0u32..12,
        ) {
            let (mut minute, mut now_us) = (PoisonMinute::default(), 0);
            let mut passed: Vec<(u64, u32)> = Vec::new();
            for (pause_us, records) in steps {
                now_us += pause_us;
                let recent = |(at, _): &&(u64, u32)| now_us / 1000 - at / 1000 <= MINUTE_MS;
                let within: u32 = passed.iter().filter(recent).map(|(_, count)| count).sum();
                let admitted = minute.admit(now_us, records, limit);
                prop_assert_eq!(admitted, within + records <= limit);
                if admitted {
                    passed.push((now_us, records));
                }
            }
        }
    }
}
