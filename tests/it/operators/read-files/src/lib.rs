//! Does what each record says, such as `read /models/a`, by the standard library, and tells what came of it.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};

use tidemill_sdk::{Context, Description, OpenContext, Operator, Record, Result};

/// The operator.
#[derive(Debug)]
pub struct ReadFiles {
    /// What was there when it was opened.
    at_open: String,
}

impl Operator for ReadFiles {
    fn describe() -> Description {
        Description::new("read-files", env!("CARGO_PKG_VERSION")).input("lines").output("facts")
    }

    fn open(_ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self { at_open: told(read("/models/a")) })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let line = record.value_str()?;
        let (what, path) = line.split_once(' ').unwrap_or((line, ""));
        let found = match what {
            "read" => read(path),
            "pieces" => pieces(path),
            "list" => list(path),
            "stat" => stat(path),
            "link" => fs::read_link(path).map(|path| path.display().to_string()),
            "write" => fs::write(path, line).map(|()| String::new()),
            "append" => OpenOptions::new().append(true).open(path).map(|_| String::new()),
            "rename" => fs::rename(path, "/models/b").map(|()| String::new()),
            "remove" => fs::remove_file(path).map(|()| String::new()),
            "make" => fs::create_dir(path).map(|()| String::new()),
            "hold" => hold(path),
            "variable" => Ok(env::var(path).unwrap_or_else(|_| "none".to_owned())),
            "variables" => Ok(env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" ")),
            "open" => Ok(self.at_open.clone()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        ctx.emit(&format!("{line}: {}", told(found)))
    }
}

fn told(found: io::Result<String>) -> String {
    found.unwrap_or_else(|error| format!("{:?}, {error}", error.kind()))
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path)
}

/// The sum of the bytes of a file, read from its middle on in small pieces, then from its start.
fn pieces(path: &str) -> io::Result<String> {
    let mut file = File::open(path)?;
    let half = file.metadata()?.len() / 2;
    let (mut sum, mut bytes, mut piece) = (0u64, 0, vec![0; 100_000]);
    for start in [half, 0] {
        file.seek(SeekFrom::Start(start))?;
        let mut left = if start == 0 { half } else { u64::MAX };
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = file.read(&mut piece[..most])?;
            if count == 0 {
                break;
            }
            left -= count as u64;
            bytes += count;
            sum += piece[..count].iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
    }
    Ok(format!("{bytes} bytes, sum {sum}"))
}

fn list(path: &str) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{mark}", entry.file_name().display()));
    }
    names.sort();
    Ok(names.join(" "))
}

fn stat(path: &str) -> io::Result<String> {
    let found = fs::metadata(path)?;
    let is_dated = found.modified().is_ok_and(|time| time > std::time::UNIX_EPOCH);
    Ok(format!("{} bytes, directory {}, dated {is_dated}", found.len(), found.is_dir()))
}

/// Opens a file again and again, and holds all of them.
fn hold(path: &str) -> io::Result<String> {
    let mut held = Vec::new();
    let refusal = loop {
        match File::open(path) {
            Ok(file) => held.push(file),
            Err(error) => break error,
        }
    };
    Ok(format!("{} at once, then {refusal}", held.len()))
}

tidemill_sdk::export!(ReadFiles);
