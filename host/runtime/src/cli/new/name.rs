//! The name of a new operator: of its directory, its crate, its type and its job.

use std::fmt;
use std::str::FromStr;

const NAME_BYTES_MAX: usize = 48;

/// Words that Cargo or the compiler would refuse later, less clearly.
const RESERVED: [&str; 55] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tidemill_sdk",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "while",
];

/// A name that can be a directory, a crate and part of a job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct CrateName(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum BadName {
    #[error("a name has 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-' and '_', the first a letter")]
    Form,
    #[error("this word is reserved in Rust: take another one")]
    Reserved,
}

impl FromStr for CrateName {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_well || name.len() > NAME_BYTES_MAX || !name.chars().all(allowed) {
            return Err(BadName::Form);
        }
        let name = Self(name.to_owned());
        if RESERVED.contains(&name.identifier().as_str()) {
            Err(BadName::Reserved)
        } else {
            Ok(name)
        }
    }
}

impl CrateName {
    pub(in crate::cli) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a Rust identifier; also the stem of the component's file.
    pub(super) fn identifier(&self) -> String {
        self.0.replace('-', "_")
    }

    /// As the name of a type.
    pub(super) fn type_name(&self) -> String {
        let words = self.0.split(['-', '_']).filter(|word| !word.is_empty());
        words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
    }

    /// As the name of a job.
    pub(super) fn job_name(&self) -> String {
        self.0.replace('_', "-")
    }
}

impl fmt::Display for CrateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_serves_as_crate_type_and_job() {
        let name: CrateName = "page_visits-2".parse().unwrap();
        assert_eq!(name.identifier(), "page_visits_2");
        assert_eq!(name.type_name(), "PageVisits2");
        assert_eq!(name.job_name(), "page-visits-2");
    }

    #[test]
    fn names_that_something_would_refuse_later_are_refused() {
        let long = "a".repeat(49);
        for bad in ["", "2a", "-a", "_a", "a b", "a/b", "../a", "A", "é", "a.b", long.as_str()] {
            assert_eq!(bad.parse::<CrateName>(), Err(BadName::Form), "{bad:?}");
        }
        for reserved in ["fn", "test", "std", "tidemill-sdk", "proc-macro"] {
            assert_eq!(reserved.parse::<CrateName>(), Err(BadName::Reserved), "{reserved:?}");
        }
    }

    #[test]
    fn reserved_words_are_sorted_and_lower_case() {
        assert!(RESERVED.is_sorted());
    }
}
