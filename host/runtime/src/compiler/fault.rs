//! Misdeeds of a compiler's process, so that tests see what becomes of them.
//!
//! `TIDEMILL_COMPILER_FAULT=name` in the environment of a host with debug assertions has the children of that
//! host misbehave once they have confined themselves, under low limits. A misdeed that is denied ends the
//! child with exit code 43; one that works is passed over, and the file admitted. In any other build there is
//! nothing of this.

use std::io::PipeWriter;
use std::process::Command;
use std::time::Duration;

use tidemill_core::limits::AdmissionLimits;

fn in_full(limits: &AdmissionLimits) -> (AdmissionLimits, Duration) {
    (limits.clone(), Duration::from_secs(limits.compile_wall_s()))
}

#[cfg(not(debug_assertions))]
pub(super) use nothing::{limits, pass_on, strike};

#[cfg(not(debug_assertions))]
mod nothing {
    //! What a product does for tests.

    use super::{AdmissionLimits, Command, Duration, PipeWriter, in_full};

    pub(in super::super) fn limits(limits: &AdmissionLimits) -> (AdmissionLimits, Duration) {
        in_full(limits)
    }

    pub(in super::super) fn pass_on(_command: &mut Command) {}

    pub(in super::super) fn strike(_answer: &mut PipeWriter) {}
}

#[cfg(debug_assertions)]
pub(super) use wanted::{limits, pass_on, strike};

#[cfg(debug_assertions)]
mod wanted {
    //! The misdeeds.

    use std::hint::black_box;
    use std::io::Write;
    use std::net::UdpSocket;
    use std::thread;

    use super::{AdmissionLimits, Command, Duration, PipeWriter, in_full};

    const FAULT: &str = "TIDEMILL_COMPILER_FAULT";
    const DENIED: i32 = 43;

    fn fault() -> Option<String> {
        std::env::var(FAULT).ok()
    }

    /// The limits of a child, and the wall time that it has.
    pub(in super::super) fn limits(limits: &AdmissionLimits) -> (AdmissionLimits, Duration) {
        let Some(fault) = fault() else { return in_full(limits) };
        // One that computes may have to wait long for its second of CPU time.
        let wall = if fault == "wait" { 5 } else { 100 };
        let (compile_cpu_s, compile_memory_bytes) = (1, 256 << 20);
        let low = AdmissionLimits { compile_cpu_s, compile_memory_bytes, ..limits.clone() };
        (low, Duration::from_secs(wall))
    }

    pub(in super::super) fn pass_on(command: &mut Command) {
        command.envs(fault().map(|fault| (FAULT, fault)));
    }

    /// Does what the test asks for.
    pub(in super::super) fn strike(answer: &mut PipeWriter) {
        let Some(fault) = fault() else { return };
        let is_denied = match &*fault {
            "loop" => loop {
                black_box(0);
            },
            "wait" => loop {
                thread::park();
            },
            "allocate" => allocate(),
            "stack" => descend(0) == 0,
            "abort" => std::process::abort(),
            "panic" => panic!("as the test wants it, in {}", file!()),
            "exit" => std::process::exit(0),
            "open-file" => {
                let flags = rustix::fs::OFlags::RDONLY;
                rustix::fs::open("/etc/passwd", flags, rustix::fs::Mode::empty()).is_err()
            }
            "socket" => UdpSocket::bind("127.0.0.1:0").is_err(),
            "thread" => thread::Builder::new().spawn(|| ()).is_err(),
            "process" => Command::new("/bin/true").spawn().is_err(),
            "signal" => {
                let parent = rustix::process::getppid();
                parent.is_none_or(|parent| rustix::process::test_kill_process(parent).is_err())
            }
            "long-answer" => say(answer, &u64::MAX.to_le_bytes()),
            "garbage" => say(answer, &[[4, 0, 0, 0, 0, 0, 0, 0], [0xc1; 8]].concat()),
            "half-answer" => say(answer, &[200, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]),
            "endless-answer" => loop {
                say(answer, &[1; 4096]);
            },
            "endless-words" => loop {
                eprintln!("{}", "\u{1b}[31mwords ".repeat(1000));
            },
            other => panic!("there is no fault {other}"),
        };
        if is_denied {
            std::process::exit(DENIED);
        }
    }

    fn say(answer: &mut PipeWriter, bytes: &[u8]) -> bool {
        answer.write_all(bytes).and_then(|()| answer.flush()).ok();
        true
    }

    fn allocate() -> ! {
        let mut held = Vec::new();
        loop {
            held.push(black_box(vec![1u8; 1 << 20]));
        }
    }

    #[expect(unconditional_recursion, reason = "it uses up the stack")]
    fn descend(depth: u64) -> u64 {
        let frame = black_box([depth; 128]);
        descend(frame[7] + 1) + frame[3]
    }
}
