//! `rcsync` mirrors a RunComfy AI Toolkit training job to disk while it trains.
//!
//! The house: [`model`] says what things are, [`decide`] what to do next (pure), [`edge`] touches the
//! world, [`engine`] is where decisions meet effects, [`cli`] is the front door, and [`simulator`] is a
//! trainer to practise on.

pub mod cli;
pub mod decide;
pub mod edge;
pub mod engine;
pub mod error;
pub mod model;
pub mod simulator;
