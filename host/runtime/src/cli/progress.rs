//! How far a running job is: a line drawn over and over on a terminal, a log line now and then
//! elsewhere.
//!
//! Runs on a thread of its own and only reads counters: the job does not know that it is watched.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::{short, short_bytes};
use crate::job::{JobHandle, Progress};

const REDRAW: Duration = Duration::from_millis(200);
const LOG_LINE: Duration = Duration::from_secs(5);
/// Rates are averaged over about this long.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Watches a job until it is dropped.
pub(super) struct Watch {
    /// Dropped to end the thread.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Draws on `lines`. Log lines must be written through the same [`MultiProgress`].
    pub(super) fn draw(name: &str, job: JobHandle, lines: &MultiProgress) -> Self {
        lines.set_draw_target(ProgressDrawTarget::stderr());
        let line = lines.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix:.bold} {wide_msg}")
        {
            line.set_style(style);
        }
        line.set_prefix(name.to_owned());
        Self::start(
            REDRAW,
            move |view| match view {
                Some(view) => {
                    line.set_message(view.line());
                    line.tick();
                }
                None => line.finish_and_clear(),
            },
            job,
        )
    }

    /// Writes a log line every few seconds.
    pub(super) fn log(name: &str, job: JobHandle) -> Self {
        let name = name.to_owned();
        Self::start(
            LOG_LINE,
            move |view| {
                if let Some(View { progress, records_in_rate, records_out_rate, elapsed }) = view {
                    tracing::info!(
                        job = name,
                        records_in = progress.records_in,
                        records_out = progress.records_out,
                        records_in_per_second = records_in_rate.round(),
                        records_out_per_second = records_out_rate.round(),
                        remaining = progress.remaining,
                        state_bytes = progress.state_bytes,
                        keys = progress.keys,
                        elapsed_s = elapsed.as_secs(),
                        "The job is running."
                    );
                }
            },
            job,
        )
    }

    fn start(
        interval: Duration,
        mut show: impl FnMut(Option<&View>) + Send + 'static,
        job: JobHandle,
    ) -> Self {
        let (done, ended) = mpsc::channel::<()>();
        let began = Instant::now();
        let watch = move || {
            let mut rates = Rates::new(began);
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                show(Some(&rates.view(job.progress(), Instant::now())));
            }
            show(None);
        };
        // Without a thread the job runs unwatched; that is no reason not to run it.
        let thread = thread::Builder::new().name("tidemill-progress".to_owned()).spawn(watch).ok();
        Self { done: Some(done), thread }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is shown at one moment.
struct View {
    progress: Progress,
    records_in_rate: f64,
    records_out_rate: f64,
    elapsed: Duration,
}

impl View {
    fn line(&self) -> String {
        let Self { progress, records_in_rate, records_out_rate, elapsed } = self;
        let mut parts = vec![
            format!("in {}/s", short(*records_in_rate)),
            format!("out {}/s", short(*records_out_rate)),
            format!("{} records", short(progress.records_in as f64)),
        ];
        if let Some(remaining) = progress.remaining {
            parts.push(format!("lag {}", short(remaining as f64)));
        }
        if progress.keys > 0 {
            let keys = short(progress.keys as f64);
            parts.push(format!("state {} ({keys} keys)", short_bytes(progress.state_bytes)));
        }
        parts.push(humantime::format_duration(Duration::from_secs(elapsed.as_secs())).to_string());
        parts.join("  ")
    }
}

/// Rates as exponential averages, so that a hiccup does not make the figures jump.
struct Rates {
    began: Instant,
    at: Instant,
    records_in: u64,
    records_out: u64,
    in_rate: f64,
    out_rate: f64,
}

impl Rates {
    fn new(began: Instant) -> Self {
        Self { began, at: began, records_in: 0, records_out: 0, in_rate: 0.0, out_rate: 0.0 }
    }

    fn view(&mut self, progress: Progress, now: Instant) -> View {
        let seconds = now.duration_since(self.at).as_secs_f64().max(1e-6);
        let is_first = self.at == self.began;
        let keep = if is_first { 0.0 } else { (-seconds / RATE_WINDOW.as_secs_f64()).exp() };
        let average = |old: f64, new: u64, before: u64| {
            old * keep + new.saturating_sub(before) as f64 / seconds * (1.0 - keep)
        };
        self.in_rate = average(self.in_rate, progress.records_in, self.records_in);
        self.out_rate = average(self.out_rate, progress.records_out, self.records_out);
        (self.at, self.records_in, self.records_out) =
            (now, progress.records_in, progress.records_out);
        View {
            records_in_rate: self.in_rate,
            records_out_rate: self.out_rate,
            elapsed: now.duration_since(self.began),
            progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(records_in: u64, records_out: u64) -> Progress {
        Progress { records_in, records_out, ..Progress::default() }
    }

    #[test]
    fn a_steady_flow_shows_its_rate() {
        let began = Instant::now();
        let mut rates = Rates::new(began);
        for second in 1..=5 {
            let view = rates
                .view(progress(second * 1000, second * 10), began + Duration::from_secs(second));
            assert_eq!(
                (view.records_in_rate.round(), view.records_out_rate.round()),
                (1000.0, 10.0)
            );
        }
    }

    #[test]
    fn the_line_leaves_out_what_is_not_known() {
        let view = |progress| View {
            progress,
            records_in_rate: 12_345.0,
            records_out_rate: 0.0,
            elapsed: Duration::from_millis(61_500),
        };
        assert_eq!(view(progress(5000, 0)).line(), "in 12.3k/s  out 0/s  5.00k records  1m 1s");
        let full = Progress { remaining: Some(7), keys: 3, state_bytes: 2048, ..progress(5000, 0) };
        assert_eq!(
            view(full).line(),
            "in 12.3k/s  out 0/s  5.00k records  lag 7  state 2.00 KiB (3 keys)  1m 1s"
        );
    }
}
