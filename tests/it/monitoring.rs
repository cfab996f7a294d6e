//! What watches rcsync: systemd's socket and Prometheus' text file.
#![cfg(unix)]

use std::os::unix::net::UnixDatagram;

use rcsync::simulator::{JobPlan, Simulator, SimulatorConfig};

use crate::support::{Bench, code, stderr};

async fn finished() -> Bench {
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let plan = JobPlan { checkpoint_bytes: 100_000, picture_side: 32, ..JobPlan::default() };
    let job = simulator.add_job(plan);
    simulator.finish(&job);
    Bench::new(simulator, job)
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_learns_that_it_is_ready_and_that_it_ends() {
    let bench = finished().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let dir = bench.dir();
    let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap(), "--once"]);
    command.env("NOTIFY_SOCKET", &path);
    // Read as it comes, as systemd does: the socket holds a few words and no more.
    let hearing = std::thread::spawn(move || {
        let (mut reported, mut buffer) = (Vec::new(), [0; 4096]);
        while !reported.iter().any(|text: &String| text.contains("STOPPING=1")) {
            let count = socket.recv(&mut buffer).unwrap();
            reported.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
        }
        reported
    });
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let reported = hearing.join().unwrap();
    let at = |word: &str| reported.iter().position(|text| text.contains(word));
    assert!(at("READY=1").is_some() && at("READY=1") < at("STOPPING=1"), "{reported:?}");
    assert!(reported.iter().any(|text| text.starts_with("STATUS=")), "{reported:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_does_not_listen_holds_nothing_up() {
    let bench = finished().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // Its queue is full from the beginning and is never read.
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"STATUS=full", &path).is_ok() {}
    let dir = bench.dir();
    let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap(), "--once"]);
    command.env("NOTIFY_SOCKET", &path);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let run = tokio::time::timeout(std::time::Duration::from_secs(60), run).await;
    let run = run.expect("the run waits for a manager that does not listen").unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    drop(socket);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_manager_whose_socket_is_no_file_is_notified_too() {
    use std::os::linux::net::SocketAddrExt as _;
    let bench = finished().await;
    let name = format!("rcsync-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let dir = bench.dir();
    let mut command = bench.command(&[bench.job.as_str(), dir.to_str().unwrap(), "--once"]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    socket.set_nonblocking(true).unwrap();
    while let Ok(count) = socket.recv(&mut buffer) {
        said += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    assert!(said.contains("READY=1\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_file_shows_how_a_run_ended() {
    let bench = finished().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rcsync.prom");
    let run = bench.once(&["--metrics-file", path.to_str().unwrap()]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let text = std::fs::read_to_string(&path).unwrap();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let hosted = f64::from(u32::try_from(bench.simulator.hosted(&bench.job).len()).unwrap());
    assert_eq!(value("rcsync_exit_code"), Some(0.0), "{text}");
    assert_eq!(value("rcsync_present_files"), Some(hosted), "{text}");
    assert_eq!(value("rcsync_published_files_total"), Some(hosted), "{text}");
    assert!(!text.contains(bench.simulator.token()), "{text}");
}
