//! Log lines: to stderr, as text or as JSON.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Says exactly what to log, in the language of `tracing_subscriber::EnvFilter`.
const FILTER_VARIABLE: &str = "TIDEMILL_LOG";
/// What our crates log under; what guests log appears under the sandbox's.
const OWN_TARGETS: [&str; 4] =
    ["tidemill_core", "tidemill_storage", "tidemill_sandbox", "tidemill_runtime"];

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// For people, with or without colour.
    Text {
        /// Whether to use escape codes.
        colour: bool,
    },
    /// One JSON object a line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How lines look.
    pub style: LogStyle,
    /// 0 logs our own `info` and `warn` of others; each step up or down is a level.
    pub verbosity: i8,
    /// Lines that are drawn on the same terminal and must make way.
    pub lines: MultiProgress,
}

/// Sends log lines of this process to stderr. The first call wins.
pub fn init_logs(options: LogOptions) {
    let asked = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty());
    let parsed = asked.as_ref().map(EnvFilter::try_new);
    let (filter, bad) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(default_filter(options.verbosity)), Some(error)),
        None => (EnvFilter::new(default_filter(options.verbosity)), None),
    };
    let writer = Stderr { lines: options.lines };
    let layer = match options.style {
        LogStyle::Text { colour } => {
            let show_target = options.verbosity > 0;
            fmt::layer().with_writer(writer).with_ansi(colour).with_target(show_target).boxed()
        }
        LogStyle::Json => fmt::layer().with_writer(writer).json().flatten_event(true).boxed(),
    };
    // A second call finds a subscriber in place: an embedding program's, or that of another test.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    if let Some(error) = bad {
        tracing::warn!(%error, "{FILTER_VARIABLE} is not a filter and is ignored.");
    }
}

fn default_filter(verbosity: i8) -> String {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let level = |steps: i8| {
        let index = usize::try_from(steps.max(0)).unwrap_or(0).min(LEVELS.len() - 1);
        LEVELS[index]
    };
    let own = level(2_i8.saturating_add(verbosity));
    let others = level(1_i8.saturating_add(verbosity));
    let own = OWN_TARGETS.iter().map(|target| format!(",{target}={own}"));
    format!("{others}{}", own.collect::<String>())
}

/// Stderr, with drawn lines moved out of the way first.
struct Stderr {
    lines: MultiProgress,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_of_verbosity_is_a_level() {
        assert!(default_filter(0).starts_with("warn,tidemill_core=info"));
        assert!(default_filter(1).starts_with("info,tidemill_core=debug"));
        assert!(default_filter(9).starts_with("trace,tidemill_core=trace"));
        assert!(default_filter(-1).starts_with("error,tidemill_core=warn"));
        assert!(default_filter(-9).starts_with("error,tidemill_core=error"));
    }

    #[test]
    fn default_filters_are_filters() {
        for verbosity in -3..=3 {
            EnvFilter::try_new(default_filter(verbosity)).unwrap();
        }
    }
}
