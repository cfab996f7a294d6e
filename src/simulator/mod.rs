//! A trainer to practise on: the simulated Trainer API and artifact host.
//!
//! Two servers on loopback with two origins, so that it can be seen whether a token ever goes where it must
//! not. Everything they say and serve is a function of a seed and of simulated time, which passes by itself at
//! a chosen pace or is pushed on by a test. Of large files only the headers are held; their bytes are made
//! while they are sent.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
//!
//! let simulator = Simulator::start(SimulatorConfig::default()).await?;
//! let job = simulator.add_job(JobPlan { steps: 500, save_every: 100, ..JobPlan::default() });
//! simulator.advance_steps(&job, 100);
//! assert!(simulator.truth(&job).contains_key("my_first_lora_000000100.safetensors"));
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```

mod api;
mod body;
mod control;
mod faults;
mod files;
mod host;
mod hosted_files;
mod links;
mod plan;
mod reply;
mod request_log;
mod router;
mod server;
mod state;
mod submitted;
#[cfg(test)]
mod tests;
mod training;

#[cfg(test)]
pub(crate) use body::Body;
#[cfg(test)]
pub(crate) use control::Offered;
pub use control::{Simulator, TrueVersion};
pub use faults::{Fault, What};
pub use plan::{
    Family, HostOptions, JobPlan, PictureFormat, SimulatorConfig, StaticBytes, StaticFile, StaticJob,
    TrainerHash, Validators, Writes,
};
pub use request_log::{Origin, RequestRecord};
