//! From a job file on disk to a [`JobPlan`].

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill_storage::{open_regular, read_text_of};
use toml::de::DeTable;

use super::defaults;
use super::error::ConfigError;
use super::overrides::Overrides;
use super::plan::{JobPlan, Part};
use super::problem::{Problem, Rejection};
use super::raw::RawJob;
use super::reader::Reader;
use super::resolve;
use super::text::JobText;

/// Largest job file or tenants' file: a file is read by the host before anybody is charged for it.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the loader knows of the world: the file and where relative paths start.
pub(super) struct Origin {
    /// The job file, absolute.
    pub(super) file: PathBuf,
    /// Its directory.
    pub(super) directory: PathBuf,
}

impl JobPlan {
    /// Reads and checks the job file at `path`, with `sets` (`KEY=VALUE`) laid over it.
    ///
    /// # Errors
    /// The file cannot be read, or the first thing in it that is wrong.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let file = std::path::absolute(path);
        let file = file.map_err(|error| ConfigError::unreadable(path, &error))?;
        Self::load_at(path, &file, sets)
    }

    /// The same where jobs of several owners run: relative paths count from where the directory of `path` really lies, so
    /// that nobody changes what they lead to by changing links after it was looked whose that directory is.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn load_of_tenants(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let real = || {
            let file = std::path::absolute(path)?;
            match (file.parent(), file.file_name()) {
                (Some(directory), Some(name)) => Ok(directory.canonicalize()?.join(name)),
                _ => Ok(file),
            }
        };
        let file = real().map_err(|error| ConfigError::unreadable(path, &error))?;
        Self::load_at(path, &file, sets)
    }

    fn load_at(shown: &Path, file: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let text = read_text_of(file, FILE_BYTES_MAX);
        let (content, real_file) = text.map_err(|error| ConfigError::unreadable(shown, &error))?;
        Ok(Self { real_file, ..Self::from_text(shown, file, content, sets)? })
    }

    /// Checks the text of a job file: `shown` names it in messages, relative paths count from
    /// `file`.
    ///
    /// # Errors
    /// The first thing in it that is wrong.
    pub fn from_text(
        shown: &Path,
        file: &Path,
        content: String,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let text = JobText::new(shown.display().to_string(), content, sets);
        let directory = file.parent().unwrap_or(file).to_owned();
        let origin = Origin { file: file.to_owned(), directory };
        let plan = parse(&text).and_then(|raw| resolve::job(raw, origin, text.clone()));
        plan.map_err(|rejection| ConfigError::new(rejection, &text))
    }

    /// The paths by which it is judged whose job this is: of the text that was read, without links, and the one from which
    /// relative paths count.
    pub fn paths(&self) -> [&Path; 2] {
        [&self.real_file, &self.file]
    }

    /// What the job's part of a directory of jobs is called. Names of jobs are chosen by tenants, so those of a tenant have
    /// its name before them: nobody meets the job of another by giving one the same name.
    pub fn directory_name(&self) -> String {
        directory_name(&self.tenant, &self.name)
    }

    /// Looks whether every component file can be opened, for an error that shows its line.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check_components(&self) -> Result<(), ConfigError> {
        self.operators.iter().try_for_each(|operator| {
            let path = &operator.component;
            let Err(error) = open_regular(path) else { return Ok(()) };
            let problem =
                Problem::MissingComponent { path: path.clone(), error: error.to_string() };
            Err(self.locations.reject(problem, &operator.name, Part::Component))
        })
    }
}

/// What a tenant's job of this name is called among those of all tenants.
pub fn directory_name(tenant: &str, name: &str) -> String {
    match tenant {
        defaults::TENANT => name.to_owned(),
        tenant => format!("{tenant}@{name}"),
    }
}

fn parse(text: &JobText) -> Result<RawJob, Rejection> {
    let overrides = Overrides::of(text)?;
    let mut document = DeTable::parse(text.file()).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        Rejection::at(Problem::syntax(error.message(), text.file(), &span), &span, &[])
    })?;
    overrides.apply(document.get_mut())?;
    RawJob::deserialize(Reader::document(document))
}
