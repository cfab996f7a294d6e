//! Mirrors one simulated job through the library, once, and prints what was published.
//!
//! `cargo run --example sync_once`
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::sync::Arc;

use rcsync::edge::api::{ApiClient, Limits};
use rcsync::edge::token::TokenSource;
use rcsync::engine::Mirror;
use rcsync::engine::event::Event;
use rcsync::engine::options::SyncOptions;
use rcsync::engine::stop::Stop;
use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start(SimulatorConfig::default()).await?;
    let job = simulator.add_job(JobPlan { steps: 500, ..JobPlan::default() });
    simulator.advance_steps(&job, 500);

    let api = ApiClient::new(
        simulator.api_base().parse()?,
        TokenSource::fixed("simulated-token"),
        Limits::default(),
    )?;
    let folder = tempfile::tempdir()?;
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let mirror = Mirror { api, job, dir: folder.path().join("mirror"), options, followers: Vec::new() };
    let reporter = |event: &Event| {
        if let Event::Published { path, evidence, .. } = event {
            println!("{path}: {evidence}");
        }
    };
    let status = mirror.run(Arc::new(reporter), Stop::new()).await?;
    println!("exit code {}", status.code());
    Ok(())
}
