//! The files of a new operator, from `templates/`.
//!
//! A template's name ends in `.in`, so that neither Cargo nor an editor takes it for the real
//! thing.

use std::path::PathBuf;

use include_dir::{Dir, include_dir};

use super::name::CrateName;

static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/rust");

/// A Rust operator.
pub(super) fn rust(name: &CrateName) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    fill(&RUST, name, &mut files);
    files
}

fn fill(directory: &Dir<'_>, name: &CrateName, files: &mut Vec<(PathBuf, String)>) {
    for file in directory.files() {
        let Some(content) = file.contents_utf8() else { continue };
        let path = match file.path().with_extension("") {
            path if path == *"gitignore" => PathBuf::from(".gitignore"),
            path => path,
        };
        files.push((path, fill_in(content, name)));
    }
    for directory in directory.dirs() {
        fill(directory, name, files);
    }
}

fn fill_in(content: &str, name: &CrateName) -> String {
    content
        .replace("{{name}}", name.as_str())
        .replace("{{crate}}", &name.identifier())
        .replace("{{type}}", &name.type_name())
        .replace("{{job}}", &name.job_name())
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
}
