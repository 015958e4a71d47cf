//! What the child does: confine itself, read one file, compile it, answer, end.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;

use tidemill_sandbox::compiler::codec::{self, Answer};
use tidemill_sandbox::compiler::compile;

use super::{confine, fault};

/// Of the compiler: others take its core as soon as they want it.
const NICENESS: i32 = 5;

/// Serves the host's one request, from stdin to stdout.
///
/// # Errors
/// When there is no request, or nobody takes the answer. The host looks at neither.
pub(crate) fn serve() -> io::Result<()> {
    // Whoever runs goes before whoever is to run.
    rustix::process::setpriority_process(None, NICENESS).ok();
    // Without buffers: nothing of the file is read before the layers are up.
    let mut request = PipeReader::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut answer = PipeWriter::from(io::stdout().as_fd().try_clone_to_owned()?);
    let limits = codec::read_limits(&mut request)?;
    let confinement = confine::confine(&limits);
    fault::strike(&mut answer);
    let file = codec::read_file(&mut request)?;
    let outcome = compile(&file, &limits);
    codec::write_answer(&mut answer, &Answer { confinement, outcome })
}
