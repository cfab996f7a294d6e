//! Rules for ComfyUI: which files are LoRAs, and where each one is placed.

pub(crate) mod loras;
pub(crate) mod placing;
pub(crate) mod sidecars;
