//! Looks for files, and tells what else it finds; panics at the record `panic`.
//!
//! A crate of its own: code that may touch files imports the filesystem of WASI, which changes how the
//! component is linked.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

use tidemill_sdk::{Context, Description, OpenContext, Operator, Record, Result};

/// The operator.
#[derive(Debug)]
pub struct LookForFiles;

impl Operator for LookForFiles {
    fn describe() -> Description {
        Description::new("look-for-files", env!("CARGO_PKG_VERSION")).input("lines").output("facts")
    }

    fn open(_ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let line = record.value_str()?;
        assert!(line != "panic", "nothing to be found");
        let is_there = |found: io::Result<()>| if found.is_ok() { "yes" } else { "no" };
        let root = Path::new("/");
        let facts = [
            ("read", is_there(fs::read("/etc/passwd").map(drop))),
            ("write", is_there(fs::write("x", line))),
            ("list", is_there(fs::read_dir(root).map(drop))),
            ("remove", is_there(fs::remove_file("x"))),
            ("directory", is_there(env::current_dir().and_then(fs::metadata).map(drop))),
            ("exists", if root.exists() { "yes" } else { "no" }),
            ("clock", if SystemTime::now() > UNIX_EPOCH { "yes" } else { "no" }),
        ];
        println!("looked around");
        facts.iter().try_for_each(|(what, found)| ctx.emit(&format!("{what}: {found}")))
    }
}

tidemill_sdk::export!(LookForFiles);
