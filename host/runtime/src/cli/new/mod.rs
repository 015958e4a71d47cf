//! `tidemill new`: starts an operator.
//!
//! Owns the name rule and the writing; what is written comes from `templates/` and from the SDK's
//! own sources, both embedded. Invariant: nothing that exists is ever written over.

mod name;
mod template;
mod vendor;

pub(super) use name::CrateName;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::arguments::{Language, NewArguments};
use super::console::note;
use super::exit_code::ExitCode;
use super::failure::Failure;

/// Writes a new operator into a directory of its name.
pub(super) fn new(arguments: &NewArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.name;
    let directory = Path::new(name.as_str());
    write(directory, name, arguments.lang)?;
    note(&format!(
        "Created the operator {name}. Next:\n\n  cd {name}\n  cargo test\n  \
         cargo build --release --target wasm32-wasip2\n  tidemill run job.toml\n"
    ));
    Ok(ExitCode::Done)
}

fn write(directory: &Path, name: &CrateName, language: Language) -> Result<(), Failure> {
    let mut files = match language {
        Language::Rust => template::rust(name),
    };
    files.extend(vendor::files().map_err(Failure::Host)?);
    claim(directory)?;
    files.iter().try_for_each(|(path, content)| {
        let path = directory.join(path);
        create(&path, content).map_err(|error| Failure::CannotCreate {
            path,
            problem: error.to_string(),
            help: "make room or take another place; what was written so far stays",
        })
    })
}

/// Makes the directory, or finds it empty.
fn claim(directory: &Path) -> Result<(), Failure> {
    let refused = |problem: String| Failure::CannotCreate {
        path: directory.to_owned(),
        problem,
        help: "take another name, or an empty directory",
    };
    let failed = |error: io::Error| refused(error.to_string());
    fs::create_dir_all(directory).map_err(failed)?;
    match fs::read_dir(directory).map_err(failed)?.next() {
        None => Ok(()),
        Some(_) => Err(refused("the directory is not empty".to_owned())),
    }
}

fn create(path: &PathBuf, content: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> CrateName {
        name.parse().unwrap()
    }

    #[test]
    fn an_operator_is_written_whole_and_filled_in() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("page-visits");
        write(&directory, &name("page-visits"), Language::Rust).unwrap();
        let read = |path: &str| fs::read_to_string(directory.join(path)).unwrap();
        assert!(read("Cargo.toml").contains("name = \"page-visits\""));
        assert!(read("src/lib.rs").contains("pub struct PageVisits"));
        assert!(read("job.toml").contains("release/page_visits.wasm"));
        for path in [".gitignore", "README.md", "rust-toolchain.toml", "events.ndjson"] {
            assert!(!read(path).contains("{{"), "{path}");
        }
        assert!(read("vendor/tidemill/guest-sdk/src/lib.rs").contains("export!"));
        assert!(read("vendor/tidemill/wit/operator.wit").contains("package tidemill:operator"));
    }

    #[test]
    fn a_written_job_file_is_accepted() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a_b");
        write(&directory, &name("a_b"), Language::Rust).unwrap();
        let plan = crate::config::JobPlan::load(&directory.join("job.toml"), &[]).unwrap();
        assert_eq!(plan.name, "a-b");
    }

    #[test]
    fn a_directory_with_something_in_it_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("mine"), "x").unwrap();
        let refused = write(place.path(), &name("a"), Language::Rust).unwrap_err();
        assert!(refused.to_string().ends_with("the directory is not empty"), "{refused}");
        assert_eq!(refused.exit_code(), ExitCode::CannotCreate);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
