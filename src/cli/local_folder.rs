//! A folder of this machine, where a bucket or another URL could be typed by mistake.

use std::path::Path;

use crate::cli::command_error::CommandError;
use crate::cli::format::shown;
use crate::model::destination::Destination;

/// Refuses a URL where only a folder can be used; `what` is what the command does with the folder.
///
/// # Errors
/// When the text is the URL of a bucket, or of something else.
pub(crate) fn ensure_folder(typed: &Path, what: &str) -> Result<(), CommandError> {
    let is_url = match Destination::parse(typed.to_path_buf()) {
        Ok(Destination::Folder(_)) => false,
        Ok(Destination::Bucket(_)) | Err(_) => true,
    };
    if !is_url {
        return Ok(());
    }
    let typed = typed.to_string_lossy();
    let scheme = typed.split(':').next().unwrap_or_default();
    Err(CommandError::misused(
        format!("`{}://…` is a URL, and {what} a folder of this machine", shown(scheme)),
        "name a folder; one of this name is typed with `./` before it",
    ))
}
