//! What a run leaves on the host, and when.

use super::{get, result, sha256, small, start, start_with, url_of, urls};
use crate::model::job::JobStatus;
use crate::simulator::{Family, JobPlan, SimulatorConfig, Writes};

fn checkpoints(hosted: &[String]) -> Vec<&str> {
    hosted.iter().map(String::as_str).filter(|path| path.ends_with(".safetensors")).collect()
}

#[tokio::test]
async fn files_come_and_go_as_the_trainer_has_it() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    assert_eq!(simulator.status(&job), JobStatus::InQueue);
    assert!(simulator.hosted(&job).is_empty());

    simulator.advance_steps(&job, 0);
    let hosted = simulator.hosted(&job);
    assert_eq!(hosted[0], "config.yaml");
    assert!(hosted[1].starts_with("samples/17698") && hosted[1].ends_with("__000000000_0.jpg"), "{hosted:?}");
    assert_eq!(hosted.len(), 3);

    simulator.advance_steps(&job, 30);
    let hosted = simulator.hosted(&job);
    assert_eq!(checkpoints(&hosted), ["dog_000000020.safetensors", "dog_000000030.safetensors"]);
    let gone = result(&simulator, &job).await.to_string();
    assert!(!gone.contains("dog_000000010"), "deleted files leave the list");

    simulator.advance_steps(&job, 10);
    assert_eq!((simulator.status(&job), simulator.step(&job)), (JobStatus::Running, 40));
    assert_eq!(checkpoints(&simulator.hosted(&job)).len(), 2, "the final save comes after the last step");
    simulator.advance_steps(&job, 1);
    let hosted = simulator.hosted(&job);
    assert_eq!(
        checkpoints(&hosted),
        ["dog_000000020.safetensors", "dog_000000030.safetensors", "dog.safetensors"]
    );
    assert_eq!(simulator.status(&job), JobStatus::Running);
    simulator.advance_steps(&job, 1);
    assert_eq!(simulator.hosted(&job).iter().filter(|path| path.contains("__000000040_")).count(), 2);
    assert_eq!(simulator.status(&job), JobStatus::Running);
    simulator.advance_steps(&job, 1);
    assert_eq!(simulator.status(&job), JobStatus::Stopped);
    simulator.advance_steps(&job, 5);
    assert_eq!(simulator.step(&job), 40);
}

#[tokio::test]
async fn a_deleted_checkpoint_is_404_and_may_stay_listed() {
    let simulator = start().await;
    let job = simulator.add_job(JobPlan { list_deleted: true, ..small() });
    simulator.advance_steps(&job, 10);
    let before = url_of(&simulator, &job, "dog_000000010").await;
    assert_eq!(get(&before, &[]).await.status, 200);
    simulator.advance_steps(&job, 20);
    assert_eq!(get(&before, &[]).await.status, 404);
    let listed = url_of(&simulator, &job, "dog_000000010").await;
    assert_eq!(get(&listed, &[]).await.status, 404);
}

#[tokio::test]
async fn the_truth_is_what_is_served() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    simulator.finish(&job);
    let truth = simulator.truth(&job);
    for url in urls(&simulator, &job).await {
        let answer = get(&url, &[]).await;
        let path = url.split("/output/dog/").nth(1).and_then(|rest| rest.split('?').next()).expect("a path");
        let version = truth[path].last().expect("a version");
        assert_eq!((answer.status, answer.body.len() as u64), (200, version.bytes), "{path}");
        assert_eq!(sha256(&answer.body), version.sha256.to_string(), "{path}");
        if path.ends_with(".safetensors") {
            safetensors::SafeTensors::deserialize(&answer.body).expect("valid weights");
            assert_eq!(version.trainer_hash_holds, Some(true));
        }
    }
    assert!(truth.contains_key("dog_000000010.safetensors"), "what was deleted is remembered");
}

#[tokio::test]
async fn one_seed_one_world() {
    let world = async |seed| {
        let simulator = start_with(SimulatorConfig { seed, ..SimulatorConfig::default() }).await;
        let job = simulator.add_job(small());
        simulator.finish(&job);
        (job.clone(), simulator.hosted(&job), simulator.truth(&job))
    };
    let (first, second, other) = (world(1).await, world(1).await, world(2).await);
    assert_eq!(first, second);
    assert_ne!(first.0, other.0);
    assert_ne!(first.2["dog.safetensors"], other.2["dog.safetensors"]);
}

#[tokio::test]
async fn resuming_a_finished_job_rewrites_its_final_file() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    simulator.finish(&job);
    assert!(simulator.resume(&job));
    simulator.finish(&job);
    let truth = simulator.truth(&job);
    let versions = &truth["dog.safetensors"];
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[0].bytes, versions[1].bytes, "size is no change detection");
    assert_ne!(versions[0].sha256, versions[1].sha256);
    let last_samples = simulator.hosted(&job).iter().filter(|path| path.contains("__000000040_0")).count();
    assert_eq!(last_samples, 2, "samples of one step come under new names");
}

#[tokio::test]
async fn preemption_stops_early_and_resuming_continues_from_the_latest_checkpoint() {
    let simulator = start().await;
    let job = simulator.add_job(JobPlan { preempt_at: Some(25), ..small() });
    simulator.finish(&job);
    assert_eq!((simulator.status(&job), simulator.step(&job)), (JobStatus::Stopped, 25));
    assert!(simulator.resume(&job));
    simulator.advance_steps(&job, 0);
    assert_eq!(simulator.step(&job), 20);
    simulator.finish(&job);
    assert_eq!((simulator.status(&job), simulator.step(&job)), (JobStatus::Stopped, 40));
}

#[tokio::test]
async fn pairs_come_one_after_the_other_and_go_together() {
    let simulator = start().await;
    let job = simulator.add_job(JobPlan { family: Family::Wan22, ..small() });
    simulator.advance_steps(&job, 10);
    assert_eq!(checkpoints(&simulator.hosted(&job)), ["dog_000000010_high_noise.safetensors"]);
    simulator.advance_steps(&job, 1);
    let hosted = simulator.hosted(&job);
    assert_eq!(checkpoints(&hosted)[1], "dog_000000010_low_noise.safetensors");
    simulator.finish(&job);
    let hosted = simulator.hosted(&job);
    assert_eq!(
        checkpoints(&hosted),
        [
            "dog_000000030_high_noise.safetensors",
            "dog_000000030_low_noise.safetensors",
            "dog_high_noise.safetensors",
            "dog_low_noise.safetensors"
        ]
    );
    assert_eq!(simulator.truth(&job)["dog_low_noise.safetensors"][0].trainer_hash_holds, Some(false));
}

#[tokio::test]
async fn the_second_half_waits_for_the_first_to_be_whole() {
    let simulator = start().await;
    let plan = JobPlan { family: Family::Wan22, writes: Writes::Growing, write_steps: 3, ..small() };
    let job = simulator.add_job(plan);
    simulator.advance_steps(&job, 12);
    assert_eq!(checkpoints(&simulator.hosted(&job)), ["dog_000000010_high_noise.safetensors"]);
    simulator.advance_steps(&job, 1);
    assert_eq!(checkpoints(&simulator.hosted(&job)).len(), 2);
    simulator.finish(&job);
    assert_eq!(simulator.status(&job), JobStatus::Stopped);
}

#[tokio::test]
async fn a_growing_file_is_short_until_it_is_whole() {
    let simulator = start().await;
    let job = simulator.add_job(JobPlan { writes: Writes::Growing, write_steps: 3, ..small() });
    simulator.advance_steps(&job, 10);
    let (mut lengths, mut etags) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let url = url_of(&simulator, &job, "dog_000000010").await;
        let answer = get(&url, &[]).await;
        assert_eq!(answer.status, 200);
        lengths.push(answer.body.len() as u64);
        etags.push(answer.header("etag").to_owned());
        simulator.advance_steps(&job, 1);
    }
    let whole = simulator.truth(&job)["dog_000000010.safetensors"][0].bytes;
    assert!(lengths.is_sorted_by(|one, next| one < next), "{lengths:?}");
    assert_eq!(lengths[3], whole);
    etags.dedup();
    assert_eq!(etags.len(), 4);
}

#[tokio::test]
async fn a_zero_tail_has_the_full_length_and_another_digest() {
    let simulator = start().await;
    let plan = JobPlan { writes: Writes::ZeroTail, write_steps: u64::MAX, keep: 1, ..small() };
    let job = simulator.add_job(plan);
    simulator.advance_steps(&job, 20);
    let truth = simulator.truth(&job)["dog_000000010.safetensors"][0].clone();
    let half = get(&url_of(&simulator, &job, "dog_000000010").await, &[]).await;
    assert_eq!(half.body.len() as u64, truth.bytes);
    assert!(half.body.ends_with(&[0; 1000]));
    simulator.set_written(&job, "dog_000000010.safetensors", Writes::ZeroTail, 1, 2);
    let more = get(&url_of(&simulator, &job, "dog_000000010").await, &[]).await;
    assert!(more.body.ends_with(&[0; 1000]));
    assert_ne!(more.body, half.body);
    assert_ne!(more.header("etag"), half.header("etag"));
    simulator.finish_writes(&job);
    let hosted = simulator.hosted(&job);
    assert_eq!(checkpoints(&hosted), ["dog_000000020.safetensors"], "old ones go when the new one is whole");
    let whole = get(&url_of(&simulator, &job, "dog_000000020").await, &[]).await;
    safetensors::SafeTensors::deserialize(&whole.body).expect("valid weights");
}

#[tokio::test]
async fn a_save_that_the_end_of_the_machine_cut_off_stays_half() {
    let simulator = start().await;
    let job = simulator.add_job(JobPlan { writes: Writes::Growing, write_steps: 5, ..small() });
    simulator.advance_steps(&job, 12);
    simulator.preempt(&job);
    assert!(simulator.resume(&job));
    simulator.advance_steps(&job, 9);
    assert_eq!(simulator.step(&job), 9, "a training does not resume from half a checkpoint");
    let half = get(&url_of(&simulator, &job, "dog_000000010").await, &[]).await;
    assert!((half.body.len() as u64) < simulator.truth(&job)["dog_000000010.safetensors"][0].bytes);
    simulator.finish(&job);
    assert_eq!(simulator.truth(&job)["dog_000000010.safetensors"].len(), 2, "written anew");
}

#[tokio::test]
async fn time_passes_by_itself_where_it_is_asked_to() {
    let step_time = Some(std::time::Duration::from_micros(200));
    let simulator = start_with(SimulatorConfig { step_time, ..SimulatorConfig::default() }).await;
    let job = simulator.add_job(small());
    while simulator.status(&job).may_write() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let by_itself = simulator.truth(&job);
    let by_hand = start().await;
    let job = by_hand.add_job(small());
    by_hand.finish(&job);
    let weights = |path: &&String| path.ends_with(".safetensors");
    assert!(by_itself.keys().filter(weights).eq(by_hand.truth(&job).keys().filter(weights)));
}
