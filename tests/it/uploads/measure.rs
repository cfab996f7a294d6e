//! The figures of datasets as one table, of a release build:
//! `RCSYNC_PROGRAM=$PWD/target/release/rcsync cargo test --test it uploads::measure -- --ignored --nocapture`.

use std::fmt::Display;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rcsync::simulator::picture;

use super::breaks::{KILLS, uploads_of_a_push_that_is_killed};
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

/// A clip in the MP4 format: its data are a box up to this length, after two short ones. A hole in the file where the disk can have one.
fn write_clip(path: &Path, length: u64, last: u8) {
    let mut head = Vec::new();
    head.extend(20_u32.to_be_bytes());
    head.extend(b"ftypisom\0\0\0\0isom");
    head.extend(8_u32.to_be_bytes());
    head.extend(b"moov");
    head.extend(1_u32.to_be_bytes());
    head.extend(b"mdat");
    head.extend((length - 28).to_be_bytes());
    let mut file = File::create(path).unwrap();
    file.write_all(&head).unwrap();
    file.set_len(length).unwrap();
    file.seek(SeekFrom::End(-1)).unwrap();
    file.write_all(&[last]).unwrap();
}

/// The table of figures, each with what issue 21 asks for.
#[derive(Default)]
struct Figures(Vec<[String; 3]>);

impl Figures {
    fn add(&mut self, what: &str, figure: impl Display, wanted: impl Display) {
        self.0.push([what.to_owned(), figure.to_string(), wanted.to_string()]);
    }
}

#[expect(clippy::print_stdout, reason = "figures are what this is for")]
fn print(Figures(rows): &Figures) {
    let head = ["figure", "measured", "wanted"].map(str::to_owned);
    let width = |at: usize| rows.iter().chain([&head]).map(|row| row[at].len()).max().unwrap_or(0);
    println!();
    for [what, figure, wanted] in [&head].into_iter().chain(rows) {
        println!("{what:<0$}  {figure:<1$}  {wanted}", width(0), width(1));
    }
}

/// Seconds to read a folder's files one after the other, as `cat` does.
fn reading(folder: &Path) -> f64 {
    let mut buffer = vec![0; 1 << 20];
    let began = Instant::now();
    for entry in std::fs::read_dir(folder).unwrap() {
        let mut file = File::open(entry.unwrap().path()).unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    }
    began.elapsed().as_secs_f64()
}

/// Seconds of a command, the best of three.
async fn best(rig: &Rig, typed: &str) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        rig.run_to(typed, 0).await;
        best = best.min(began.elapsed().as_secs_f64());
    }
    best
}

/// Runs a command and returns the most memory it ever had, in MiB.
async fn peak(rig: &Rig, typed: &str) -> f64 {
    let mut child = rig.spawn(typed);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child.try_wait().unwrap().is_none() {
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        let kilobytes = now.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        peak = peak.max(kilobytes.and_then(|text| text.parse().ok()).unwrap_or(0.0) / 1024.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}{}", out(&done), stderr(&done));
    peak
}

/// Everything that issue 21 wants measured, as one table.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it takes minutes, a quiet machine and 3 GB of disk"]
async fn all_figures_of_datasets() {
    let mut figures = Figures::default();
    let rig = Rig::new().await;
    rig.simulator.set_datasets(|options| {
        options.latency = Duration::from_millis(50);
        options.most_at_a_time = Some(8);
    });
    for number in 0..PICTURES {
        rig.write(&format!("dog/{number:04}.jpg"), large_picture(number as u64, BYTES));
    }
    let mut check = async |what: &str, folder: &str| {
        let once = reading(&rig.path(folder)).min(reading(&rig.path(folder)));
        let checking = best(&rig, &format!("dataset check {folder}")).await;
        figures.add(&format!("{what}: reading, one thread"), format!("{once:.3} s"), "");
        let ratio = checking / once;
        figures.add(&format!("{what}: check"), format!("{checking:.3} s, {ratio:.2} x"), "<= 1.5 x");
    };
    check("2,000 pictures of 300 KB", "dog").await;
    std::fs::create_dir(rig.path("clips")).unwrap();
    for number in 0..100_u8 {
        // Of one length, and different in their last byte alone: only all their bytes distinguish them.
        write_clip(&rig.path(&format!("clips/{number:03}.mp4")), 6_000_000, number);
    }
    check("100 clips of one length, 6 MB", "clips").await;
    let mut took = Vec::new();
    for (connections, name) in [(1, "one"), (8, "eight")] {
        let began = Instant::now();
        rig.run_to(&format!("dataset push dog --name {name} --connections {connections} --no-wait -q"), 0)
            .await;
        took.push(began.elapsed().as_secs_f64());
        let seconds = took[took.len() - 1];
        let what = format!("push, 50 ms away, connections: {connections}");
        figures.add(&what, format!("{seconds:.2} s"), "");
    }
    figures.add("one after the other / eight", format!("{:.2} x", took[0] / took[1]), ">= 5 x");
    let began = Instant::now();
    rig.run_to("dataset push dog --name eight -q", 0).await;
    figures.add("push again, nothing new", format!("{:.2} s", began.elapsed().as_secs_f64()), "");
    write_clip(&rig.path("dog/clip.mp4"), 2 << 30, 0);
    figures.add(
        "check with a 2 GB clip among them, peak",
        format!("{:.1} MiB", peak(&rig, "dataset check dog").await),
        "<= 64 MiB",
    );
    figures.add(
        "push with a 2 GB clip among them, peak",
        format!("{:.1} MiB", peak(&rig, "dataset push dog --name eight --force --connections 8").await),
        "<= 64 MiB",
    );
    assert!(rig.simulator.dataset("eight").unwrap().files["clip.mp4"].signed);
    let uploads = uploads_of_a_push_that_is_killed().await;
    let most = uploads.iter().max().unwrap();
    let surplus: u32 = uploads.iter().map(|uploads| uploads - 1).sum();
    figures.add(
        &format!("{KILLS} kills, 60 files: a file is sent"),
        format!("{most} times at the most, {surplus} more in all"),
        "<= 2 times",
    );
    print(&figures);
}
