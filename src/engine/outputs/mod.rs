//! What is done with published files: gallery, ComfyUI, hooks.

pub mod comfyui;
pub(crate) mod followers;
pub mod gallery;
pub mod hooks;
