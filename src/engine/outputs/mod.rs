//! What is done with published files: gallery, ComfyUI, hooks.

pub(crate) mod comfyui;
pub(crate) mod followers;
pub(crate) mod gallery;
pub(crate) mod hooks;
