//! What follows published files: gallery, ComfyUI, hooks.

pub mod comfyui;
pub mod follower;
pub mod gallery;
pub mod hooks;
