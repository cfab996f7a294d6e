//! Mirrors one simulated job through the library, once, and prints what was published and how it was proven.
//!
//! `cargo run --example sync_once`
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::sync::Arc;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};
use rcsync::{ApiClient, Event, Limits, Mirror, Stop, TokenSource};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start(SimulatorConfig::default()).await?;
    let job = simulator.add_job(JobPlan { steps: 500, ..JobPlan::default() });
    simulator.finish(&job);

    let tokens = TokenSource::fixed("simulated-token");
    let api = ApiClient::new(simulator.api_base().parse()?, tokens, Limits::default())?;
    let folder = tempfile::tempdir()?;
    let mirror = Mirror::new(api, job, folder.path().join("out")).configure(|options| options.once = true);
    let reporter = |event: &Event| {
        if let Event::Published { path, evidence, .. } = event {
            println!("{path}: {evidence}");
        }
    };
    let status = mirror.run(Arc::new(reporter), Stop::new()).await?;
    println!("exit code {}", status.code());
    Ok(())
}
