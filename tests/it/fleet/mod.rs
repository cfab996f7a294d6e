//! Many jobs: what a scheduler reads of one run, and the fleet that one process follows.

mod comparison;
mod ends;
mod follow;
mod idle;
mod lists;
mod page;
mod scheduler;
mod yard;
