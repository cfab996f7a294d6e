//! Rules for ComfyUI: which files are LoRAs, and where each one is placed.

pub mod loras;
pub mod placing;
pub mod sidecars;
