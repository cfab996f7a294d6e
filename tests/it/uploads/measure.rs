//! Measurements, for people: `cargo test --release --test it uploads::measure -- --ignored --nocapture --test-threads 1`.

use std::time::{Duration, Instant};

use rcsync::simulator::picture;

use super::rig::{Rig, out};
use crate::support::stderr;

const PICTURES: usize = 2000;
const BYTES: usize = 300_000;

/// A picture of about so many bytes: comments fill it up, so that 2,000 of them are made in a moment.
fn large_picture(number: u64, bytes: usize) -> Vec<u8> {
    let small = picture(number, 64);
    let mut large = small[..2].to_vec();
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while large.len() + small.len() < bytes {
        let length = (bytes - large.len() - small.len()).clamp(8, 60_000);
        large.extend([0xff, 0xfe]);
        large.extend(u16::try_from(length + 2).unwrap().to_be_bytes());
        large.extend((0..length).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(random >> 56).unwrap()
        }));
    }
    large.extend(&small[2..]);
    large
}

#[expect(clippy::print_stdout, reason = "figures are what this is for")]
fn tell(what: &str, figure: impl std::fmt::Display) {
    println!("{what}: {figure}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it takes minutes and a quiet machine"]
async fn two_thousand_pictures_fifty_milliseconds_away() {
    let rig = Rig::new().await;
    rig.simulator.set_datasets(|options| {
        options.latency = Duration::from_millis(50);
        options.most_at_a_time = Some(8);
    });
    for number in 0..PICTURES {
        rig.write(&format!("dog/{number:04}.jpg"), large_picture(number as u64, BYTES));
    }
    let began = Instant::now();
    let mut read = 0;
    for number in 0..PICTURES {
        read += std::fs::read(rig.path(&format!("dog/{number:04}.jpg"))).unwrap().len();
    }
    let reading = began.elapsed();
    let began = Instant::now();
    rig.run_to("dataset check dog", 0).await;
    let checking = began.elapsed();
    tell("reading", format!("{reading:.2?} for {read} bytes, one thread"));
    tell(
        "checking",
        format!("{checking:.2?}, {:.2} x reading", checking.as_secs_f64() / reading.as_secs_f64()),
    );
    let mut took = Vec::new();
    for (connections, name) in [(1, "one"), (8, "eight")] {
        let began = Instant::now();
        rig.run_to(&format!("dataset push dog --name {name} --connections {connections} --no-wait -q"), 0)
            .await;
        took.push(began.elapsed());
        tell(&format!("pushing by {connections}"), format!("{:.2?}", began.elapsed()));
    }
    tell("ratio", format!("{:.2}", took[0].as_secs_f64() / took[1].as_secs_f64()));
    let began = Instant::now();
    rig.run_to("dataset push dog --name eight -q", 0).await;
    tell("pushing again", format!("{:.2?}", began.elapsed()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it writes and sends 2 GB"]
#[cfg(target_os = "linux")]
async fn memory_with_a_clip_of_two_gigabytes() {
    let rig = Rig::new().await;
    rig.photos("dog", 200);
    let mut clip = Vec::new();
    clip.extend(20_u32.to_be_bytes());
    clip.extend(b"ftypisom\0\0\0\0isom");
    clip.extend(1_u32.to_be_bytes());
    clip.extend(b"mdat");
    let length: u64 = 2 << 30;
    clip.extend((length - 20).to_be_bytes());
    rig.write("dog/clip.mp4", clip);
    let file = std::fs::File::options().write(true).open(rig.path("dog/clip.mp4")).unwrap();
    file.set_len(length).unwrap();
    let mut child = rig.spawn("dataset push dog --force --connections 8");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = String::new();
    while child.try_wait().unwrap().is_none() {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = now.lines().find(|line| line.starts_with("VmHWM")) {
            peak = line.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}{}", out(&done), stderr(&done));
    tell("peak", peak);
    assert!(rig.simulator.dataset("dog").unwrap().files["clip.mp4"].signed);
}
