//! The bytes of hosted files: weights, pictures and plain bytes, made when they are asked for.

mod archive;
pub(crate) mod content;
mod made;
pub(crate) mod noise;
pub(crate) mod pictures;
pub(crate) mod weights;
