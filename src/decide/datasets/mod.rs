//! Would AI Toolkit train on this folder? Pure rules over a folder that was read already: [`Scan`] is what is in it,
//! `check` finds everything that is wrong at once.

mod assign;
mod check;
mod dimensions;
mod for_config;
mod kinds;
mod listing;
mod paths;
mod patterns;
pub(crate) mod push;
mod report;
mod scan;
mod signature;
mod starting_config;

pub(crate) use self::assign::{AssignError, assign, needed_datasets};
#[cfg(any(test, feature = "internals"))]
pub use self::check::check;
pub use self::check::check_with;
pub(crate) use self::check::safe_name;
pub(crate) use self::dimensions::dimensions;
pub(crate) use self::for_config::{caption_ext_for, companions_of, name_for};
pub(crate) use self::kinds::{MediaKind, caption_extension, is_safe_name, is_skipped, stem};
pub(crate) use self::listing::Listing;
pub(crate) use self::paths::DATASETS;
pub(crate) use self::paths::dataset_name;
#[cfg(feature = "internals")]
pub use self::paths::{dataset_names, roles};
pub(crate) use self::patterns::FilePatterns;
pub(crate) use self::report::{Code, Counts, Cure, Finding, Report, Severity};
pub use self::scan::{Caption, Content};
pub(crate) use self::scan::{Companion, Media, MediaState, Scan, ScannedFile, Subfolder};
pub(crate) use self::signature::{OPENING, signature};
pub use self::starting_config::{BaseModel, Wishes, starting_config};
