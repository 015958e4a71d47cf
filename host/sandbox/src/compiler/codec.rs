//! What the host and the compiler's process say to each other: one request, one answer.
//!
//! A request is the limits and the file, an answer the layers around the compiler and how it ended; each part
//! is a length (little-endian, 8 bytes) and as many bytes. The host takes every answer for hostile: lengths
//! are capped, nothing is allocated ahead of the bytes that come, words are cut and escaped.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use tidemill_core::limits::{AdmissionLimits, COMPONENT_BYTES_MAX, MIB};

use super::{Compilation, Compiled, Confinement};
use crate::admission::AdmissionError;

/// Bytes of an answer beside the machine code: names of imports and exports above all.
const ANSWER_WORDS_BYTES_MAX: u64 = 16 * MIB as u64;
const LIMITS_BYTES_MAX: u64 = 4096;

/// How a compilation ended.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    /// The layers around the compiler.
    pub confinement: Confinement,
    /// The compiled component, or why there is none.
    pub outcome: Result<Compiled, AdmissionError>,
}

/// Asks a compiler to compile a file.
///
/// # Errors
/// When it does not take the request.
pub fn write_request(
    to: &mut impl Write,
    bytes: &[u8],
    limits: &AdmissionLimits,
) -> io::Result<()> {
    write_part(to, &rmp_serde::to_vec_named(limits).map_err(io::Error::other)?)?;
    write_part(to, bytes)?;
    to.flush()
}

/// What a compiler is asked for: the limits first, so that it can heed them before it reads the file with
/// [`read_file`].
///
/// # Errors
/// When the request is cut off or is none.
pub fn read_limits(from: &mut impl Read) -> io::Result<AdmissionLimits> {
    rmp_serde::from_slice(&read_part(from, LIMITS_BYTES_MAX)?).map_err(io::Error::other)
}

/// The file that a compiler is to compile.
///
/// # Errors
/// When the request is cut off.
pub fn read_file(from: &mut impl Read) -> io::Result<Vec<u8>> {
    read_part(from, COMPONENT_BYTES_MAX)
}

/// Tells the host how a compilation ended.
///
/// # Errors
/// When it does not listen.
pub fn write_answer(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    write_part(to, &rmp_serde::to_vec_named(answer).map_err(io::Error::other)?)?;
    to.flush()
}

/// The answer of a compiler that was given `limits`.
///
/// # Errors
/// When it is cut off, too long or no answer.
pub fn read_answer(from: &mut impl Read, limits: &AdmissionLimits) -> io::Result<Answer> {
    let most = limits.code_bytes.saturating_add(ANSWER_WORDS_BYTES_MAX);
    let answer: Answer =
        rmp_serde::from_slice(&read_part(from, most)?).map_err(io::Error::other)?;
    Ok(Answer { outcome: answer.outcome.map_err(AdmissionError::cut), ..answer })
}

impl Answer {
    /// The compiled component with the layers around its compiler.
    ///
    /// # Errors
    /// Why there is none.
    pub fn into_compilation(self) -> Result<Compilation, AdmissionError> {
        let confinement = Some(self.confinement);
        self.outcome.map(|compiled| Compilation { compiled, confinement })
    }
}

fn write_part(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)
}

fn read_part(from: &mut impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > most {
        return Err(io::Error::other("it is longer than is allowed"));
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layer;
    use super::*;
    use crate::admission::ComponentKind;

    fn answer(outcome: Result<Compiled, AdmissionError>) -> Vec<u8> {
        let confinement =
            Confinement { active: vec![Layer::Seccomp], missing: vec![Layer::Landlock] };
        let mut bytes = Vec::new();
        write_answer(&mut bytes, &Answer { confinement, outcome }).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> io::Result<Answer> {
        let limits = AdmissionLimits { code_bytes: 1000, ..AdmissionLimits::default() };
        read_answer(&mut &bytes[..], &limits)
    }

    fn compiled() -> Compiled {
        let names = || vec!["name".to_owned()];
        Compiled {
            kind: ComponentKind::Component,
            imports: names(),
            exports: names(),
            code: vec![7; 500],
        }
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let limits = AdmissionLimits { functions: 17, ..AdmissionLimits::default() };
        let mut bytes = Vec::new();
        write_request(&mut bytes, b"a file", &limits).unwrap();
        let mut from = &bytes[..];
        assert_eq!(read_limits(&mut from).unwrap(), limits);
        assert_eq!(read_file(&mut from).unwrap(), b"a file");
    }

    #[test]
    fn an_answer_arrives_as_it_was_sent() {
        let read_back = read(&answer(Ok(compiled()))).unwrap();
        assert_eq!(read_back.confinement.active, [Layer::Seccomp]);
        assert_eq!(read_back.outcome.ok().unwrap().code, [7; 500]);
        let refusal = AdmissionError::UnknownImport("wasi:http".to_owned());
        let read_back = read(&answer(Err(refusal.clone()))).unwrap();
        assert_eq!(read_back.outcome.err(), Some(refusal));
    }

    #[test]
    fn no_answer_that_is_cut_off_or_changed_is_taken_for_more_than_it_is() {
        let whole = answer(Ok(compiled()));
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                // It may still be an answer, of other words; it must only do no harm.
                drop(read(&changed));
            }
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        for length in [17 << 20, u64::MAX, 1 << 40] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[0; 64]);
            assert!(read(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn words_of_a_compiler_are_cut() {
        let refusal = AdmissionError::Malformed("\u{1b}".repeat(100_000));
        let words = read(&answer(Err(refusal))).unwrap().outcome.err().unwrap().to_string();
        assert!(words.len() < 2000 && !words.contains('\u{1b}'));
    }

    #[test]
    fn a_compiler_cannot_speak_for_the_host() {
        let error = AdmissionError::Host("no".to_owned());
        let confinement = Confinement::default();
        let said = write_answer(&mut Vec::new(), &Answer { confinement, outcome: Err(error) });
        assert!(said.is_err());
    }
}
