//! Asks a running ComfyUI whether it lists what was placed, and says what its user has to know.

use std::path::Path;

use url::Url;

use crate::edge::comfyui::server;
use crate::edge::comfyui::server::Listed;
use crate::engine::event::{Event, Reporter};
use crate::model::names::rel_path::RelPath;

/// Asks, and tells the answer as a notice. Blocks; a ComfyUI that does not answer is no fault of the mirror.
pub(super) fn ask(url: &Url, root: &Path, new: &[RelPath], reporter: &dyn Reporter) {
    // Whoever places files does so on a thread of the runtime that may block.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread {
        return;
    }
    let origin = url.origin().ascii_serialization();
    let message = match runtime.block_on(server::ask(url)) {
        Err(why) => format!("ComfyUI at {origin} was not asked whether it lists the new LoRAs: {why}"),
        Ok(listed) => judge(&listed, root, new, &origin),
    };
    reporter.report(&Event::Notice { message });
}

/// Compares what was placed with what is listed.
fn judge(listed: &Listed, root: &Path, new: &[RelPath], origin: &str) -> String {
    let missing = new.iter().find(|path| !listed.names.iter().any(|name| name == path.as_str()));
    if let Some(missing) = missing {
        let reads = match listed.roots.as_slice() {
            [] => String::new(),
            roots => {
                let roots: Vec<String> = roots.iter().map(|root| format!("`{}`", root.display())).collect();
                format!("; it reads {}", roots.join(", "))
            }
        };
        return format!(
            "ComfyUI at {origin} does not list `{missing}`: it does not read `{}`{reads}",
            root.display()
        );
    }
    if let Some((path, other)) = new.iter().find_map(|path| Some((path, shadow(listed, root, path)?))) {
        return format!(
            "ComfyUI at {origin} lists `{path}`, but takes the file of that name in `{}`, which it searches first",
            other.display()
        );
    }
    let what = match new {
        [only] => format!("`{only}`"),
        many => format!("all {} new LoRAs", many.len()),
    };
    format!("ComfyUI at {origin} lists {what}; press `r` there to see it in the nodes")
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
        let new = [RelPath::parse("dog/dog.safetensors").unwrap()];
        let said = |names: &[(&str, usize)]| {
            judge(&listed(names), Path::new("/ui/models/loras"), &new, "http://127.0.0.1:8188")
        };
        assert_eq!(
            said(&[("dog/dog.safetensors", 1)]),
            "ComfyUI at http://127.0.0.1:8188 lists `dog/dog.safetensors`; press `r` there to see it in the nodes"
        );
        assert_eq!(
            said(&[]),
            "ComfyUI at http://127.0.0.1:8188 does not list `dog/dog.safetensors`: it does not read `/ui/models/loras`; it reads `/big/loras`, `/ui/models/loras`"
        );
        assert_eq!(
            said(&[("dog/dog.safetensors", 1), ("dog/dog.safetensors", 0)]),
            "ComfyUI at http://127.0.0.1:8188 lists `dog/dog.safetensors`, but takes the file of that name in `/big/loras`, which it searches first"
        );
    }
}
