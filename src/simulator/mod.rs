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

mod altered;
mod api;
mod body;
mod control;
mod dataset_options;
mod datasets;
mod faults;
mod files;
mod host;
mod hosted_files;
mod links;
mod plan;
mod receive;
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
pub use dataset_options::DatasetOptions;
pub use datasets::{SimulatedDataset, SimulatedFile};
pub use faults::{Fault, What};
pub use plan::{
    Family, HostOptions, JobPlan, PictureFormat, SimulatorConfig, StaticBytes, StaticFile, StaticJob,
    TrainerHash, Validators, Writes,
};
pub use request_log::{Origin, RequestRecord};

/// Draws a square JPEG picture, another one for each number.
#[must_use]
pub fn picture(number: u64, side: u16) -> Vec<u8> {
    let picture = files::pictures::Picture {
        seed: number,
        subject: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        step: 1,
        total: 1,
        prompt: format!("picture {number}"),
        format: PictureFormat::Jpg,
        side,
    };
    picture.draw()
}
