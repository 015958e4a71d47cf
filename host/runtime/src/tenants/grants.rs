//! What of the host a tenant's operators may see.
//!
//! Owns the decision on the grants that a job file asks for. Opens nothing. Invariants: what is not listed is
//! refused; a directory is judged by where its path really leads, symbolic links included; a refusal does
//! not tell whether a path that is not allowed exists.

use std::path::{Component, Path, PathBuf};

use crate::config::{Grants, Part};

/// What of the host a tenant's operators may see: nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantPolicy {
    /// Absolute paths of directories that they may read, with all that is below them.
    pub directories: Vec<PathBuf>,
    /// Names of variables of the host's environment.
    pub environment: Vec<String>,
}

/// A directory that may be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedDirectory {
    /// Where it really lies: an absolute path without symbolic links.
    pub path: PathBuf,
    /// The absolute path at which the operator sees it.
    pub guest_path: String,
}

/// A grant that the policy does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("GRANT_REFUSED: {what} {problem}")]
pub struct GrantRefusal {
    /// Which of the operator's grants.
    pub part: Part,
    what: String,
    problem: String,
}

impl GrantPolicy {
    /// Nothing is granted.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether all of an operator's grants are allowed.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self, grants: &Grants) -> Result<(), GrantRefusal> {
        self.allow(grants).map(drop)
    }

    /// As [`check`](Self::check); answers where the directories really lie, in their order. Whoever opens
    /// one there must not follow symbolic links: they were put there since.
    ///
    /// # Errors
    /// The first grant that is not allowed.
    pub fn allow(&self, grants: &Grants) -> Result<Vec<AllowedDirectory>, GrantRefusal> {
        for (index, name) in grants.environment.iter().enumerate() {
            if !self.environment.contains(name) {
                let what = format!("the environment's variable {name}");
                return Err(not_listed(Part::Variable(index), what));
            }
        }
        let directories = grants.directories.iter().enumerate().map(|(index, directory)| {
            let part = Part::Directory(index);
            let path = self.real_path(part, &directory.path)?;
            Ok(AllowedDirectory { path, guest_path: directory.guest_path.clone() })
        });
        directories.collect()
    }

    fn real_path(&self, part: Part, path: &Path) -> Result<PathBuf, GrantRefusal> {
        let what = format!("the directory {}", path.display());
        let real = match path.canonicalize() {
            Ok(real) => real,
            // Only of what lies where the tenant may look it is told what is wrong.
            Err(error) if self.directories.iter().any(|allowed| lies_in(path, allowed)) => {
                let problem = format!("cannot be opened: {error}");
                return Err(GrantRefusal { part, what, problem });
            }
            Err(_) => return Err(not_listed(part, what)),
        };
        let is_allowed = |allowed: &PathBuf| {
            allowed.canonicalize().is_ok_and(|allowed| real.starts_with(allowed))
        };
        match self.directories.iter().any(is_allowed) {
            true => Ok(real),
            false => Err(not_listed(part, what)),
        }
    }
}

/// Whether a path lies in a directory by its words alone; one that leads upwards does not.
fn lies_in(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory) && !path.components().any(|part| part == Component::ParentDir)
}

fn not_listed(part: Part, what: String) -> GrantRefusal {
    let problem = "is not granted by the policy of the job's tenant".to_owned();
    GrantRefusal { part, what, problem }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::DirectoryGrant;

    fn directory(path: &Path) -> Grants {
        let directory = DirectoryGrant { path: path.to_owned(), guest_path: "/d".to_owned() };
        Grants { directories: vec![directory], environment: Vec::new() }
    }

    fn allowing(path: &Path) -> GrantPolicy {
        GrantPolicy { directories: vec![path.to_owned()], environment: Vec::new() }
    }

    #[track_caller]
    fn refused(policy: &GrantPolicy, grants: &Grants) -> String {
        policy.check(grants).expect_err("refused").to_string()
    }

    #[test]
    fn nothing_is_granted_unless_it_is_listed() {
        let none = GrantPolicy::none();
        assert_eq!(none.check(&Grants::default()), Ok(()));
        let words = refused(&none, &directory(Path::new("/")));
        let expected =
            "GRANT_REFUSED: the directory / is not granted by the policy of the job's tenant";
        assert_eq!(words, expected);
        let variables =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let policy = GrantPolicy { environment: variables(&["A", "B"]), ..none };
        let asked = |names| Grants { environment: variables(names), ..Grants::default() };
        assert_eq!(policy.check(&asked(&["B"])), Ok(()));
        let refusal = policy.check(&asked(&["B", "C"])).unwrap_err();
        assert_eq!(refusal.part, Part::Variable(1));
        assert!(refusal.to_string().contains("variable C is not granted"), "{refusal}");
    }

    #[test]
    fn a_directory_is_allowed_when_it_really_lies_in_one_that_is_listed() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("models/deep/er")).unwrap();
        fs::create_dir_all(path("models-of-others")).unwrap();
        symlink(path("models-of-others"), path("models/out")).unwrap();
        symlink("models", path("also-models")).unwrap();
        let policy = allowing(&path("models"));
        for allowed in ["models", "models/deep/er", "also-models/deep", "models/../models/deep"] {
            let found = policy.allow(&directory(&path(allowed))).unwrap();
            assert!(found[0].path.starts_with(path("models").canonicalize().unwrap()), "{allowed}");
        }
        for outside in ["models-of-others", "models/out", "models/..", "models/deep/../.."] {
            let words = refused(&policy, &directory(&path(outside)));
            assert!(words.ends_with("is not granted by the policy of the job's tenant"), "{words}");
        }
        // The list may itself lead through a link.
        assert_eq!(allowing(&path("also-models")).check(&directory(&path("models/deep"))), Ok(()));
    }

    #[test]
    fn only_where_the_tenant_may_look_it_is_told_what_exists() {
        let place = tempfile::tempdir().unwrap();
        let policy = allowing(&place.path().join("models"));
        let inside = refused(&policy, &directory(&place.path().join("models/none")));
        assert!(inside.contains("cannot be opened: No such file"), "{inside}");
        for outside in ["none", "models/../none"] {
            let words = refused(&policy, &directory(&place.path().join(outside)));
            assert!(words.contains("is not granted by the policy"), "{words}");
        }
    }
}
