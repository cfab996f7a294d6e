//! What a configuration says about how a folder is scanned.

use std::collections::BTreeSet;

use crate::model::training_config::TrainingConfig;

use super::kinds::caption_extension;
use super::paths::{Role, dataset_name, dataset_names, roles};

/// Returns the dataset's name that a folder of this name has: its own, unless the configuration names one dataset and it
/// is not this one.
#[must_use]
pub(crate) fn name_for(folder_name: &str, config: &TrainingConfig) -> String {
    match dataset_names(config).as_slice() {
        [only] if roles(config, folder_name).is_empty() => (*only).to_owned(),
        _ => folder_name.to_owned(),
    }
}

/// Returns the extension of captions that the configuration gives a dataset, with its dot.
#[must_use]
pub(crate) fn caption_ext_for(name: &str, config: &TrainingConfig) -> Option<String> {
    roles(config, name).iter().find_map(|role| match role {
        Role::Trained { dataset, .. } => {
            dataset.caption_ext.as_ref().map(|written| caption_extension(Some(&written.text)))
        }
        Role::Companion(_) => None,
    })
}

/// Returns the names of the datasets with control images, masks and the like of a dataset.
#[must_use]
pub(crate) fn companions_of<'c>(name: &str, config: &'c TrainingConfig) -> BTreeSet<&'c str> {
    let companions = roles(config, name).into_iter().flat_map(|role| match role {
        Role::Trained { dataset, .. } => dataset.companions.as_slice(),
        Role::Companion(_) => &[],
    });
    companions.filter_map(|path| dataset_name(&path.folder.text)).filter(|other| *other != name).collect()
}
