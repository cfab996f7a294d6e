//! DEST of a fleet: a folder for each job, named by its id or its name.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::job::JobId;
use crate::model::names::rel_path::RelPath;

const ID: &str = "{id}";
const NAME: &str = "{name}";

/// `/data/loras/{name}`: where each job of a fleet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What is the same for all jobs.
    root: PathBuf,
    /// The folders below it, of which the first has a placeholder.
    below: Vec<String>,
}

/// The text is not usable as the DEST of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// All jobs would share one folder.
    #[error("it needs `{{id}}` or `{{name}}` in it, since each job has a folder of its own: `{0}`")]
    OneForAll(String),
    /// Braces around anything else.
    #[error("of what is in braces, only `{{id}}` and `{{name}}` are known")]
    UnknownPlaceholder,
    /// `..` after a placeholder.
    #[error("a folder `..` below a placeholder leads out again")]
    LeadsOut,
    /// An address.
    #[error("it is an address, not a folder")]
    Address,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return Err(TemplateError::Address);
        }
        let (mut root, mut below) = (PathBuf::new(), Vec::new());
        for component in Path::new(text).components() {
            let part = component.as_os_str().to_string_lossy();
            let filled = part.replace(ID, "").replace(NAME, "");
            if filled.contains(['{', '}']) {
                return Err(TemplateError::UnknownPlaceholder);
            }
            match component {
                _ if below.is_empty() && filled == part => root.push(component),
                Component::ParentDir => return Err(TemplateError::LeadsOut),
                _ => below.push(part.into_owned()),
            }
        }
        if below.is_empty() {
            return Err(TemplateError::OneForAll(Path::new(text).join(ID).display().to_string()));
        }
        Ok(Self { root, below })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.below.iter().fold(self.root.clone(), |path, part| path.join(part)).display())
    }
}

impl Template {
    /// Returns the folder that is the same for all jobs.
    #[must_use]
    pub fn root(&self) -> &Path {
        if self.root.as_os_str().is_empty() { Path::new(".") } else { &self.root }
    }

    /// Returns, for each folder below the root, its name where that is the same for all jobs.
    pub fn levels(&self) -> impl Iterator<Item = Option<&str>> {
        self.below.iter().map(|part| (!part.contains('{')).then_some(part.as_str()))
    }

    /// Returns a job's folder. Its name is free text: it becomes part of a folder's name and never a path of its own. A
    /// job without a name has its id.
    #[must_use]
    pub fn fill(&self, job: &JobId, name: Option<&str>) -> PathBuf {
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(job.as_str());
        let parts: Vec<String> = self
            .below
            .iter()
            .map(|part| utf8_percent_encode(&filled(part, job.as_str(), name), NON_ALPHANUMERIC).to_string())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        // No part is empty, so each has a local name.
        let below = RelPath::from_remote(&parts)
            .map_or_else(|| PathBuf::from(job.as_str()), |path| path.as_str().into());
        self.root.join(below)
    }
}

/// Fills a part in, in one walk: a job whose name is `{id}` keeps it.
fn filled(part: &str, id: &str, name: &str) -> String {
    let mut text = String::new();
    let mut rest = part;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        let (value, length) = if rest[at..].starts_with(NAME) { (name, NAME.len()) } else { (id, ID.len()) };
        text.push_str(value);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<Template, TemplateError> {
        text.parse()
    }

    #[test]
    #[cfg(unix)]
    fn each_job_has_its_folder() {
        let job: JobId = "abc-1".parse().unwrap();
        for (text, name, folder) in [
            ("/data/{id}", None, "/data/abc-1"),
            ("/data/{name}", Some("dog"), "/data/dog"),
            ("/data/{name}", None, "/data/abc-1"),
            ("/data/{name}", Some("  "), "/data/abc-1"),
            ("{name}-{id}", Some("dog"), "dog-abc-1"),
            ("{name}/{id}/out", Some("{id}"), "{id}/abc-1/out"),
            ("../x/{id}", None, "../x/abc-1"),
            ("./{id}", None, "./abc-1"),
        ] {
            let filled = template(text).unwrap().fill(&job, name);
            assert_eq!(filled, Path::new(folder), "{text} {name:?}");
        }
        // Whatever the name, it is one folder below the root.
        for name in ["../../etc", "/etc/passwd", "a/b", "..", "con", "x\u{0}y", &"n".repeat(500)] {
            let filled = template("/data/{name}").unwrap().fill(&job, Some(name));
            assert_eq!(filled.parent(), Some(Path::new("/data")), "{name:?}: {filled:?}");
        }
        assert_ne!(
            template("/d/{name}").unwrap().fill(&job, Some("a/b")),
            template("/d/{name}").unwrap().fill(&job, Some("a_b"))
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert!(
            matches!(template("/data/loras"), Err(TemplateError::OneForAll(way)) if way.ends_with("{id}"))
        );
        assert!(matches!(template(""), Err(TemplateError::OneForAll(_))));
        assert_eq!(template("/data/{job}"), Err(TemplateError::UnknownPlaceholder));
        assert_eq!(template("/data/{id}/{x}"), Err(TemplateError::UnknownPlaceholder));
        assert_eq!(template("/data/{id"), Err(TemplateError::UnknownPlaceholder));
        assert_eq!(template("/data/{id}/../x"), Err(TemplateError::LeadsOut));
        assert_eq!(template("s3://b/{id}"), Err(TemplateError::Address));
    }

    #[test]
    fn it_shows_as_it_was_typed() {
        let template = template("loras/{name}/out").unwrap();
        assert_eq!(template.to_string().replace('\\', "/"), "loras/{name}/out");
        assert_eq!(template.root(), Path::new("loras"));
        assert_eq!(template.levels().collect::<Vec<_>>(), [None, Some("out")]);
        assert_eq!("{id}".parse::<Template>().unwrap().root(), Path::new("."));
    }
}
