//! DEST of a fleet: a folder or a prefix of a bucket for each job, named by its id or its name.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::destination::{BucketUrl, Destination, DestinationError};
use crate::model::job::JobId;
use crate::model::names::rel_path::RelPath;

const ID: &str = "{id}";
const NAME: &str = "{name}";

/// `/data/loras/{name}` or `s3://bucket/loras/{name}`: where each job of a fleet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What is the same for all jobs.
    root: Root,
    /// The folders below it, of which the first has a placeholder.
    below: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    Folder(PathBuf),
    Bucket(BucketUrl),
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
    /// A placeholder where the bucket's name is.
    #[error("all jobs of a fleet go into one bucket: `{{id}}` and `{{name}}` belong behind its name")]
    ManyBuckets,
    /// An address of another kind, or one that names no bucket.
    #[error(transparent)]
    Unusable(#[from] DestinationError),
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Destination::ensure_slashes(text)?;
        if text.replace(ID, "").replace(NAME, "").contains(['{', '}']) {
            return Err(TemplateError::UnknownPlaceholder);
        }
        let filled = text.replace(ID, "x").replace(NAME, "x");
        match Destination::parse(filled.into())? {
            Destination::Bucket(_) => Self::of_bucket(text),
            Destination::Folder(_) => Self::of_folder(text),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Folder(root) => {
                write!(f, "{}", self.below.iter().fold(root.clone(), |path, part| path.join(part)).display())
            }
            Root::Bucket(root) => f.write_str(&root.object(&self.below.join("/"))),
        }
    }
}

impl Template {
    fn of_folder(text: &str) -> Result<Self, TemplateError> {
        let (mut root, mut below) = (PathBuf::new(), Vec::new());
        for component in Path::new(text).components() {
            let part = component.as_os_str().to_string_lossy();
            match component {
                _ if below.is_empty() && !part.contains('{') => root.push(component),
                Component::ParentDir => return Err(TemplateError::LeadsOut),
                _ => below.push(part.into_owned()),
            }
        }
        if below.is_empty() {
            return Err(TemplateError::OneForAll(Path::new(text).join(ID).display().to_string()));
        }
        Ok(Self { root: Root::Folder(root), below })
    }

    fn of_bucket(text: &str) -> Result<Self, TemplateError> {
        let text = text.trim_end_matches('/');
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let parts: Vec<&str> = rest.split('/').collect();
        let same = parts.iter().take_while(|part| !part.contains('{')).count();
        let (root, below) = parts.split_at(same);
        if below.is_empty() {
            return Err(TemplateError::OneForAll(format!("{text}/{ID}")));
        }
        let Destination::Bucket(root) = Destination::parse(format!("{scheme}://{}", root.join("/")).into())
            .map_err(|_| TemplateError::ManyBuckets)?
        else {
            return Err(TemplateError::ManyBuckets);
        };
        let below = below.iter().map(|part| (*part).to_owned()).collect();
        Ok(Self { root: Root::Bucket(root), below })
    }

    /// Returns what is the same for all jobs.
    #[must_use]
    pub fn root(&self) -> Destination {
        match &self.root {
            Root::Folder(root) if root.as_os_str().is_empty() => Destination::Folder(PathBuf::from(".")),
            Root::Folder(root) => Destination::Folder(root.clone()),
            Root::Bucket(root) => Destination::Bucket(root.clone()),
        }
    }

    /// Returns, for each folder below the root, its name where that is the same for all jobs.
    pub fn levels(&self) -> impl Iterator<Item = Option<&str>> {
        self.below.iter().map(|part| (!part.contains('{')).then_some(part.as_str()))
    }

    /// Returns where a job goes. Its name is free text: it becomes part of a folder's name and never a path of its own. A
    /// job without a name has its id.
    ///
    /// # Errors
    /// When a name makes the prefix of a bucket longer than a store takes.
    pub fn fill(&self, job: &JobId, name: Option<&str>) -> Result<Destination, DestinationError> {
        match &self.root {
            Root::Folder(root) => Ok(Destination::Folder(self.folder(root, job, name))),
            // The same as a mirror of this job alone has: both may be typed for one bucket.
            Root::Bucket(_) => Destination::parse(Destination::fill(&self.to_string(), job, name).into()),
        }
    }

    fn folder(&self, root: &Path, job: &JobId, name: Option<&str>) -> PathBuf {
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
        root.join(below)
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

    fn filled(text: &str, job: &JobId, name: Option<&str>) -> PathBuf {
        match template(text).unwrap().fill(job, name).unwrap() {
            Destination::Folder(folder) => folder,
            Destination::Bucket(bucket) => panic!("{bucket}"),
        }
    }

    #[test]
    fn each_job_has_its_prefix_of_one_bucket() {
        let job: JobId = "abc-1".parse().unwrap();
        for (text, name, root, place, levels) in [
            ("s3://b/loras/{name}", Some("dog"), "s3://b/loras", "s3://b/loras/dog", &[None][..]),
            ("s3://b/{id}/", None, "s3://b", "s3://b/abc-1", &[None]),
            ("gs://b/{name}/out", None, "gs://b", "gs://b/abc-1/out", &[None, Some("out")]),
            ("az://c/x/{name}-{id}", Some("dog"), "az://c/x", "az://c/x/dog-abc-1", &[None]),
        ] {
            let template = template(text).unwrap();
            let shown = |to: Destination| match to {
                Destination::Bucket(url) => url.to_string(),
                Destination::Folder(path) => panic!("{}", path.display()),
            };
            assert_eq!(template.to_string(), text.trim_end_matches('/'));
            assert_eq!(shown(template.root()), root, "{text}");
            assert_eq!(shown(template.fill(&job, name).unwrap()), place, "{text}");
            assert_eq!(template.levels().collect::<Vec<_>>(), levels, "{text}");
            let Destination::Bucket(evil) = template.fill(&job, Some("../../etc")).unwrap() else { panic!() };
            let Destination::Bucket(root) = template.root() else { panic!() };
            assert!(evil.below(&root).is_some(), "{evil}");
        }
        assert!(template(&format!("s3://b/{}/{{name}}", "p".repeat(300))).is_ok());
        let long = template(&format!("s3://b/{}/{{name}}", "p".repeat(450))).unwrap();
        assert!(long.fill(&job, Some(&"n".repeat(200))).is_err(), "no key is that long");
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
            assert_eq!(filled(text, &job, name), Path::new(folder), "{text} {name:?}");
        }
        // Whatever the name, it is one folder below the root.
        for name in ["../../etc", "/etc/passwd", "a/b", "..", "con", "x\u{0}y", &"n".repeat(500)] {
            let filled = filled("/data/{name}", &job, Some(name));
            assert_eq!(filled.parent(), Some(Path::new("/data")), "{name:?}: {filled:?}");
        }
        assert_ne!(filled("/d/{name}", &job, Some("a/b")), filled("/d/{name}", &job, Some("a_b")));
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
        assert_eq!(template("s3://{id}/x"), Err(TemplateError::ManyBuckets));
        assert!(matches!(template("s3://b/x"), Err(TemplateError::OneForAll(way)) if way == "s3://b/x/{id}"));
        for text in ["ftp://host/{id}", "s3:///{id}", "s3://b//{id}", "s3://b/{id}?x"] {
            assert!(matches!(template(text), Err(TemplateError::Unusable(_))), "{text}");
        }
    }

    #[test]
    fn it_shows_as_it_was_typed() {
        let template = template("loras/{name}/out").unwrap();
        assert_eq!(template.to_string().replace('\\', "/"), "loras/{name}/out");
        assert_eq!(template.root(), Destination::Folder("loras".into()));
        assert_eq!(template.levels().collect::<Vec<_>>(), [None, Some("out")]);
        assert_eq!("{id}".parse::<Template>().unwrap().root(), Destination::Folder(".".into()));
    }
}
