//! A refused job file, as a diagnostic with the line to look at.

use std::fmt;
use std::path::Path;

use miette::{Diagnostic, LabeledSpan, SourceCode};

use super::problem::{Problem, Rejection};
use super::text::{JobText, Place};

/// A job file that is refused: what is wrong, where, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{problem}", prefix(keys))]
pub struct ConfigError {
    problem: Box<Problem>,
    keys: Vec<String>,
    places: Option<Box<Places>>,
}

#[derive(Clone, Debug)]
struct Places {
    main: Place,
    beside: Option<(Place, &'static str)>,
}

fn prefix(keys: &[String]) -> String {
    if keys.is_empty() { String::new() } else { format!("{}: ", keys.join(".")) }
}

impl ConfigError {
    pub(super) fn new(rejection: Rejection, text: &JobText) -> Self {
        let place = |span| text.locate(span);
        let places = rejection.span.as_ref().and_then(place).map(|main| {
            let beside = rejection.beside.as_ref();
            let beside = beside.and_then(|(span, what)| Some((place(span)?, *what)));
            Box::new(Places { beside: beside.filter(|(other, _)| other.is_beside(&main)), main })
        });
        Self { problem: rejection.problem, keys: rejection.keys, places }
    }

    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let problem = Problem::Unreadable { path: path.to_owned(), error: error.to_string() };
        Self { problem: Box::new(problem), keys: Vec::new(), places: None }
    }

    pub(super) fn unreadable_tenants(path: &Path, error: &std::io::Error) -> Self {
        let (path, error) = (path.to_owned(), error.to_string());
        let problem = Box::new(Problem::UnreadableTenants { path, error });
        Self { problem, keys: Vec::new(), places: None }
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Where it is, in the job file or in a `--set`.
    pub fn place(&self) -> Option<&Place> {
        self.places.as_ref().map(|places| &places.main)
    }
}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place().map(|place| &place.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let places = self.places.as_ref()?;
        let main = LabeledSpan::new_primary_with_span(None, places.main.span.clone());
        let beside = places.beside.as_ref();
        let beside = beside.map(|(place, what)| {
            LabeledSpan::new_with_span(Some((*what).to_owned()), place.span.clone())
        });
        Some(Box::new(std::iter::once(main).chain(beside)))
    }
}
