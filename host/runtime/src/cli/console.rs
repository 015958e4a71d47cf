//! Where text goes: data and reports to stdout, everything else to stderr, colour only where
//! wanted.

use std::io::{self, IsTerminal, Write};

use clap::ColorChoice;
use miette::{GraphicalReportHandler, GraphicalTheme};

use super::arguments::{GlobalOptions, LogFormat};
use super::failure::Failure;

/// Width of error reports.
const REPORT_WIDTH: usize = 100;

/// How this process talks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Console {
    log_format: LogFormat,
    is_quiet: bool,
}

impl Console {
    /// Sets up colour for the whole process.
    pub(super) fn new(options: &GlobalOptions) -> Self {
        match options.color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        Self { log_format: options.log_format, is_quiet: options.quiet > 0 }
    }

    /// Whether stderr may show escape codes.
    pub(super) fn stderr_has_colour() -> bool {
        anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
    }

    /// Whether progress and summaries are wanted.
    pub(super) fn is_quiet(self) -> bool {
        self.is_quiet
    }

    /// Whether a progress line can be drawn over and over.
    pub(super) fn is_interactive(self) -> bool {
        self.log_format == LogFormat::Text && io::stderr().is_terminal()
    }

    /// Tells why the command failed.
    pub(super) fn report(self, failure: &Failure) {
        match self.log_format {
            LogFormat::Text => note(&render(failure)),
            LogFormat::Json => {
                let place = failure.place();
                let help = miette::Diagnostic::help(failure).map(|help| help.to_string());
                tracing::error!(
                    exit_code = failure.exit_code().number(),
                    file = place.map(|place| place.source.name().to_owned()),
                    line = place.map(|place| place.line),
                    column = place.map(|place| place.column),
                    help,
                    "{failure}"
                );
            }
        }
    }
}

fn render(failure: &Failure) -> String {
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(REPORT_WIDTH);
    let mut report = String::new();
    match handler.render_report(&mut report, failure) {
        Ok(()) => report,
        Err(_) => format!("error: {failure}\n"),
    }
}

/// Writes to stderr. When even that fails there is nobody left to tell.
pub(super) fn note(text: &str) {
    let _ = write!(anstream::stderr(), "{text}");
}

/// Writes a result to stdout. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// Anything else that keeps it from being written.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}
