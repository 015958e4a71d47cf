//! WASI 0.2 as an operator sees it: deterministic, synchronous, and empty. Its files are in `files`.
//!
//! Clock and random are those of the call, stdin is at its end, stdout and stderr become log lines,
//! environment and arguments come from the job, every pollable is ready at once. Small implementations
//! of our own: those of wasmtime-wasi wait inside an async runtime, where the CPU limit sees nothing.

use tidemill_core::failure::{FaultCode, GuestFault};
use tidemill_core::limits::KIB;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::wasi::wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use crate::bindings::wasi::wasi::clocks::{monotonic_clock, wall_clock};
use crate::bindings::wasi::wasi::filesystem::types::ErrorCode;
use crate::bindings::wasi::wasi::io::{error, poll, streams};
use crate::bindings::wasi::wasi::random::{insecure, insecure_seed, random};
use crate::files::{FileError, FileInput};
use crate::guest_data::GuestData;

/// Bytes that one write to stdout or stderr may carry.
const WRITE_BYTES_MAX: u64 = 64 * KIB as u64;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// A failure of a stream over a file.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct StreamFailure(pub(crate) ErrorCode);
/// A pollable that is always ready.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Ready;
/// What a guest reads from.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum InputStream {
    /// Standard input, which is at its end.
    Empty,
    /// A file that the operator was granted.
    File(FileInput),
}
/// A terminal; there is none.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct NoTerminal;
/// Standard output or error: whole lines become log lines.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct LineOutput {
    is_stderr: bool,
    line: Vec<u8>,
}

impl LineOutput {
    /// Keeps what belongs to the line at hand, up to `max` bytes: a log line has no more.
    fn keep(&mut self, part: &[u8], max: usize) {
        let room = max.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }
}

impl GuestData {
    fn write_lines(&mut self, stream: &Resource<LineOutput>, contents: &[u8]) -> Result<()> {
        self.frame.host_called(contents.len());
        let (output, max) = (self.table.get_mut(stream)?, self.log.line_bytes());
        let is_stderr = output.is_stderr;
        let mut rest = contents;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            output.keep(&rest[..end], max);
            let line = std::mem::take(&mut output.line);
            self.log.write_stream(is_stderr, &line);
            rest = &rest[end + 1..];
        }
        output.keep(rest, max);
        Ok(())
    }

    /// Reads from a stream: nothing when it is at its end.
    fn read_input(&mut self, stream: &Resource<InputStream>, max: u64) -> StreamResult<Vec<u8>> {
        let most = self.read_bytes_max();
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(most);
        let read = match self.table.get_mut(stream)? {
            InputStream::Empty => return Ok(Err(streams::StreamError::Closed)),
            InputStream::File(file) => file.read(max),
        };
        self.frame.host_called(read.as_ref().map_or(0, Vec::len));
        match read.map_err(FileError::from) {
            Ok(bytes) if bytes.is_empty() && max > 0 => Ok(Err(streams::StreamError::Closed)),
            Ok(bytes) => Ok(Ok(bytes)),
            Err(FileError::Code(code)) => {
                let failure = self.hold(StreamFailure(code))?;
                Ok(Err(streams::StreamError::LastOperationFailed(failure)))
            }
            Err(FileError::Fault(error)) => Err(error),
        }
    }

    fn random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let bytes = self.frame.wasi_random(len)?;
        self.frame.host_called(bytes.len());
        Ok(bytes)
    }

    fn random_u64(&mut self) -> Result<u64> {
        self.frame.host_called(8);
        let bytes = self.frame.wasi_random(8)?;
        Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

type StreamResult<T> = Result<core::result::Result<T, streams::StreamError>>;

impl error::Host for GuestData {}
impl error::HostError for GuestData {
    fn to_debug_string(&mut self, error: Resource<StreamFailure>) -> Result<String> {
        Ok(format!("reading the file failed: {}", self.table.get(&error)?.0.name()))
    }

    fn drop(&mut self, error: Resource<StreamFailure>) -> Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

impl poll::Host for GuestData {
    fn poll(&mut self, pollables: Vec<Resource<Ready>>) -> Result<Vec<u32>> {
        if pollables.is_empty() {
            return Err(GuestFault::new(FaultCode::Trap, "poll of an empty list").into());
        }
        Ok((0..pollables.len() as u32).collect())
    }
}
impl poll::HostPollable for GuestData {
    fn ready(&mut self, _: Resource<Ready>) -> Result<bool> {
        Ok(true)
    }

    fn block(&mut self, _: Resource<Ready>) -> Result<()> {
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Ready>) -> Result<()> {
        self.table.delete(pollable)?;
        Ok(())
    }
}

impl streams::Host for GuestData {}
impl streams::HostInputStream for GuestData {
    fn read(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.read_input(&stream, len)
    }

    fn blocking_read(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.read_input(&stream, len)
    }

    fn skip(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<u64> {
        Ok(self.read_input(&stream, len)?.map(|bytes| bytes.len() as u64))
    }

    fn blocking_skip(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<u64> {
        self.skip(stream, len)
    }

    fn subscribe(&mut self, _: Resource<InputStream>) -> Result<Resource<Ready>> {
        self.hold(Ready)
    }

    fn drop(&mut self, stream: Resource<InputStream>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
impl streams::HostOutputStream for GuestData {
    fn check_write(&mut self, _: Resource<LineOutput>) -> StreamResult<u64> {
        Ok(Ok(WRITE_BYTES_MAX))
    }

    fn write(&mut self, stream: Resource<LineOutput>, contents: Vec<u8>) -> StreamResult<()> {
        // As WASI has it: a guest asks first how much it may write. Lines are looked at one by one, without a tick.
        if contents.len() as u64 > WRITE_BYTES_MAX {
            let bytes = contents.len();
            let message = format!(
                "a write of {bytes} bytes to a stream; at most {WRITE_BYTES_MAX} are allowed"
            );
            return Err(GuestFault::new(FaultCode::HostCallLimit, message).into());
        }
        Ok(Ok(self.write_lines(&stream, &contents)?))
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<LineOutput>,
        contents: Vec<u8>,
    ) -> StreamResult<()> {
        self.write(stream, contents)
    }

    fn flush(&mut self, _: Resource<LineOutput>) -> StreamResult<()> {
        Ok(Ok(()))
    }

    fn blocking_flush(&mut self, _: Resource<LineOutput>) -> StreamResult<()> {
        Ok(Ok(()))
    }

    fn subscribe(&mut self, _: Resource<LineOutput>) -> Result<Resource<Ready>> {
        self.hold(Ready)
    }

    fn write_zeroes(&mut self, stream: Resource<LineOutput>, len: u64) -> StreamResult<()> {
        let zeroes = vec![0; len.min(WRITE_BYTES_MAX) as usize];
        self.write(stream, zeroes)
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<LineOutput>,
        len: u64,
    ) -> StreamResult<()> {
        self.write_zeroes(stream, len)
    }

    fn splice(
        &mut self,
        output: Resource<LineOutput>,
        source: Resource<InputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        let bytes = match self.read_input(&source, len.min(WRITE_BYTES_MAX))? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        self.write_lines(&output, &bytes)?;
        Ok(Ok(bytes.len() as u64))
    }

    fn blocking_splice(
        &mut self,
        stream: Resource<LineOutput>,
        source: Resource<InputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.splice(stream, source, len)
    }

    fn drop(&mut self, stream: Resource<LineOutput>) -> Result<()> {
        let output = self.table.delete(stream)?;
        if !output.line.is_empty() {
            self.log.write_stream(output.is_stderr, &output.line);
        }
        Ok(())
    }
}

impl environment::Host for GuestData {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        let bytes = self.environment.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.frame.host_called(bytes);
        Ok(self.environment.clone())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for GuestData {
    fn exit(&mut self, status: core::result::Result<(), ()>) -> Result<()> {
        let word = if status.is_ok() { "success" } else { "failure" };
        Err(GuestFault::new(FaultCode::Exit, format!("the guest called exit ({word})")).into())
    }

    fn exit_with_code(&mut self, code: u8) -> Result<()> {
        Err(GuestFault::new(FaultCode::Exit, format!("the guest called exit with code {code}"))
            .into())
    }
}

impl stdin::Host for GuestData {
    fn get_stdin(&mut self) -> Result<Resource<InputStream>> {
        self.hold(InputStream::Empty)
    }
}

impl stdout::Host for GuestData {
    fn get_stdout(&mut self) -> Result<Resource<LineOutput>> {
        self.hold(LineOutput { is_stderr: false, line: Vec::new() })
    }
}

impl stderr::Host for GuestData {
    fn get_stderr(&mut self) -> Result<Resource<LineOutput>> {
        self.hold(LineOutput { is_stderr: true, line: Vec::new() })
    }
}

impl terminal_input::Host for GuestData {}
impl terminal_input::HostTerminalInput for GuestData {
    fn drop(&mut self, terminal: Resource<NoTerminal>) -> Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_output::Host for GuestData {}
impl terminal_output::HostTerminalOutput for GuestData {
    fn drop(&mut self, terminal: Resource<NoTerminal>) -> Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_stdin::Host for GuestData {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}
impl terminal_stdout::Host for GuestData {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}
impl terminal_stderr::Host for GuestData {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}

impl monotonic_clock::Host for GuestData {
    fn now(&mut self) -> Result<u64> {
        self.frame.host_called(0);
        Ok(self.frame.wasi_clock_ms().unsigned_abs().saturating_mul(NANOS_PER_MILLI))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(NANOS_PER_MILLI)
    }

    fn subscribe_instant(&mut self, _: u64) -> Result<Resource<Ready>> {
        self.hold(Ready)
    }

    fn subscribe_duration(&mut self, _: u64) -> Result<Resource<Ready>> {
        self.hold(Ready)
    }
}

impl wall_clock::Host for GuestData {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        self.frame.host_called(0);
        let ms = self.frame.wasi_clock_ms().unsigned_abs();
        let nanoseconds = (ms % 1000) as u32 * NANOS_PER_MILLI as u32;
        Ok(wall_clock::Datetime { seconds: ms / 1000, nanoseconds })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: NANOS_PER_MILLI as u32 })
    }
}

impl random::Host for GuestData {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        self.random_u64()
    }
}

impl insecure::Host for GuestData {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.random_u64()
    }
}

impl insecure_seed::Host for GuestData {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((self.random_u64()?, self.random_u64()?))
    }
}
