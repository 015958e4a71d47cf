//! What the end of a compiler's process without an answer means: always a refusal, told with what is known.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tidemill_core::limits::AdmissionLimits;
use tidemill_sandbox::AdmissionError;

/// How a child ended that gave no answer.
pub(super) struct Ended<'a> {
    /// `None` when it had to be killed.
    pub(super) status: Option<ExitStatus>,
    /// It was killed because its time was over.
    pub(super) is_late: bool,
    /// What it wrote to stderr.
    pub(super) words: &'a str,
    /// CPU time that it used, in microseconds, as far as the system says.
    pub(super) cpu_us: u64,
    /// Wall time that it was given.
    pub(super) wall: Duration,
}

/// The words with which Rust programs give up when they get no memory.
const NO_MEMORY: &str = "memory allocation of ";

/// Why the file is refused.
pub(super) fn refusal(ended: &Ended<'_>, limits: &AdmissionLimits) -> AdmissionError {
    let crashed = |words: &str| AdmissionError::CompileCrashed(words.to_owned());
    if ended.is_late {
        // Waiting is nobody's fault: what a component costs is told from its CPU time.
        return AdmissionError::HostFull(format!(
            "the compiler was given up after {} s, without having had its {} s of CPU time by then",
            ended.wall.as_secs(),
            limits.compile_cpu_s
        ));
    }
    let Some(status) = ended.status else {
        return crashed("it gave no answer and did not end");
    };
    if let Some(code) = status.code() {
        return match code {
            101 => crashed("it met a defect of its own"),
            code => crashed(&format!("it ended with exit code {code} and without an answer")),
        };
    }
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => AdmissionError::CompileTime {
            limit_s: limits.compile_cpu_s,
            // That it used up its time is certain, whatever the system's clock of it shows.
            cpu_ms: (ended.cpu_us / 1000).max(limits.compile_cpu_s.saturating_mul(1000)),
        },
        Some(Signal::ABORT) if ended.words.contains(NO_MEMORY) => {
            AdmissionError::CompileMemory { limit: limits.compile_memory_bytes }
        }
        Some(Signal::ABORT) => crashed("it aborted"),
        Some(Signal::SYS) => {
            crashed("it was killed for a system call that a compiler has no need of")
        }
        Some(Signal::SEGV | Signal::BUS) => {
            crashed("it used up its stack, or touched memory that it does not have")
        }
        Some(Signal::KILL) => {
            crashed("it was killed, perhaps because the machine ran out of memory")
        }
        other => crashed(&format!("it died of the signal {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(raw: i32, words: &str, is_late: bool) -> String {
        let (cpu_us, wall) = (60_123_456, Duration::from_secs(30));
        let status = Some(ExitStatus::from_raw(raw)).filter(|_| !is_late);
        let ended = Ended { status, is_late, words, cpu_us, wall };
        refusal(&ended, &AdmissionLimits::default()).to_string()
    }

    #[test]
    fn every_end_has_its_refusal() {
        let signal = |signal: Signal| signal.as_raw();
        let exit = |code: i32| code << 8;
        let no_memory = "memory allocation of 1024 bytes failed\n";
        let cases = [
            (signal(Signal::XCPU), "", "COMPILE_TIMEOUT", "60123 ms when it was given up"),
            (signal(Signal::ABORT), no_memory, "COMPILE_MEMORY", "1073741824 bytes"),
            (signal(Signal::ABORT), "", "COMPILE_CRASHED", "aborted"),
            (signal(Signal::SYS), "", "COMPILE_CRASHED", "system call"),
            (signal(Signal::SEGV), "", "COMPILE_CRASHED", "stack"),
            (signal(Signal::KILL), "", "COMPILE_CRASHED", "killed"),
            (signal(Signal::USR1), "", "COMPILE_CRASHED", "signal"),
            (exit(101), "", "COMPILE_CRASHED", "defect"),
            (exit(0), "", "COMPILE_CRASHED", "exit code 0"),
        ];
        for (raw, words, code, says) in cases {
            let told = told(raw, words, false);
            assert!(told.starts_with(code) && told.contains(says), "{told}");
        }
        let late = told(0, "", true);
        assert!(late.starts_with("HOST_FULL") && late.contains("given up after 30 s"), "{late}");
    }
}
