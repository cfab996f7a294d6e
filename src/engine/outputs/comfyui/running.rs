//! Asks a running ComfyUI whether it lists what was placed.

use std::path::Path;

use url::Url;

use crate::edge::comfyui::server;
use crate::edge::comfyui::server::Listed;
use crate::engine::event::{ComfyNotice, Event, Notice, Reporter, ServerAnswer};
use crate::model::names::rel_path::RelPath;

/// Asks, and reports the answer as a notice. Blocks; a ComfyUI that does not answer is no fault of the mirror.
pub(super) fn ask(url: &Url, root: &Path, new: &[RelPath], reporter: &dyn Reporter) {
    // Files are placed on a thread of the runtime that may block.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread {
        return;
    }
    let origin = url.origin().ascii_serialization();
    let answer = match runtime.block_on(server::ask(url)) {
        Err(why) => ServerAnswer::None { why },
        Ok(listed) => judge(&listed, root, new),
    };
    let notice = Notice::ComfyUi(ComfyNotice::Server { origin, answer });
    reporter.report(&Event::Notice { notice });
}

/// Compares what was placed with what is listed.
fn judge(listed: &Listed, root: &Path, new: &[RelPath]) -> ServerAnswer {
    let missing = new.iter().find(|path| !listed.names.iter().any(|name| name == path.as_str()));
    if let Some(missing) = missing {
        let roots = listed.roots.iter().map(|root| root.display().to_string()).collect();
        return ServerAnswer::Unlisted { path: missing.clone(), root: root.to_path_buf(), roots };
    }
    let shadowed = new.iter().find_map(|path| Some((path, shadow(listed, root, path)?)));
    match shadowed {
        Some((path, by)) => ServerAnswer::Shadowed { path: path.clone(), by: by.to_path_buf() },
        None => ServerAnswer::Listed(new.to_vec()),
    }
}

/// Returns the root whose file of the same name comes before ours.
fn shadow<'a>(listed: &'a Listed, root: &Path, path: &RelPath) -> Option<&'a Path> {
    let is_ours = |other: &Path| {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        real(other) == real(root)
    };
    let ours = listed.roots.iter().position(|other| is_ours(other))?;
    let first = listed.roots_of.iter().filter(|(name, _)| name == path.as_str()).map(|(_, at)| *at).min()?;
    if first < ours { listed.roots.get(first).map(std::path::PathBuf::as_path) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[(&str, usize)]) -> Listed {
        Listed {
            names: names.iter().map(|(name, _)| (*name).to_owned()).collect(),
            roots_of: names.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect(),
            roots: vec!["/big/loras".into(), "/ui/models/loras".into()],
        }
    }

    #[test]
    fn listed_missing_or_shadowed() {
        let new = vec![RelPath::parse("dog/dog.safetensors").unwrap()];
        let answer = |names: &[(&str, usize)]| judge(&listed(names), Path::new("/ui/models/loras"), &new);
        let path = || new[0].clone();
        assert_eq!(answer(&[("dog/dog.safetensors", 1)]), ServerAnswer::Listed(new.clone()));
        let (root, roots) =
            ("/ui/models/loras".into(), vec!["/big/loras".to_owned(), "/ui/models/loras".to_owned()]);
        assert_eq!(answer(&[]), ServerAnswer::Unlisted { path: path(), root, roots });
        assert_eq!(
            answer(&[("dog/dog.safetensors", 1), ("dog/dog.safetensors", 0)]),
            ServerAnswer::Shadowed { path: path(), by: "/big/loras".into() }
        );
    }
}
