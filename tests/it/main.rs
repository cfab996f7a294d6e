//! One test binary: what only whole runs can show, and what only a look at the source can.

mod architecture;
