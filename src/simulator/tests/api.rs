//! The six endpoints and their state rules.

use serde_json::json;

use super::{call, client, result, send, small, start};
use crate::simulator::{Fault, What};

fn body(name: &str, steps: u64) -> String {
    let yaml = format!(
        "job: extension\nconfig:\n  name: \"{name}\"\n  process:\n    - train:\n        steps: {steps}\n      save:\n        save_every: 10\n"
    );
    json!({"config_file_format": "yaml", "config_file": yaml, "gpu_type": "ADA_80_PLUS"}).to_string()
}

#[tokio::test]
async fn without_the_token_there_is_no_answer() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    let url = format!("{}/trainers/ai-toolkit/jobs/{job}/status", simulator.api_base());
    for request in [client().get(&url), client().get(&url).bearer_auth("wrong")] {
        let answer = send(request).await.expect("an answer");
        assert_eq!(answer.status, 401);
        assert!(answer.json()["message"].is_string());
    }
}

#[tokio::test]
async fn both_forms_of_the_base_work() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    let bare = simulator.api_base().trim_end_matches("/prod/v1").to_owned();
    let url = format!("{bare}/trainers/ai-toolkit/jobs/{job}/status");
    let answer = send(client().get(url).bearer_auth(simulator.token())).await.expect("an answer");
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn unknown_jobs_and_paths_are_404() {
    let simulator = start().await;
    let answer = call(&simulator, "GET", "/no-such-job/status", "").await;
    assert_eq!((answer.status, answer.json()["error_code"].as_u64()), (404, Some(40451)));
    assert_eq!(call(&simulator, "GET", "/no-such-job/elsewhere", "").await.status, 404);
    assert_eq!(call(&simulator, "GET", "", "").await.status, 405);
}

#[tokio::test]
async fn a_life_through_the_api() {
    let simulator = start().await;
    let submitted = call(&simulator, "POST", "", &body("dog", 40)).await.json();
    let id: crate::model::job::JobId = submitted["id"].as_str().expect("an id").parse().expect("a job id");
    let path = |verb: &str| format!("/{id}/{verb}");
    let base = format!("{}/trainers/ai-toolkit/jobs/{id}", simulator.api_base());
    assert_eq!(
        submitted,
        json!({"id": id.as_str(), "name": "dog", "status_url": format!("{base}/status"),
            "result_url": format!("{base}/result"), "cancel_url": format!("{base}/cancel")})
    );

    let status = call(&simulator, "GET", &path("status"), "").await.json();
    assert_eq!(status["status"], "IN_QUEUE");
    assert_eq!(result(&simulator, &id).await["started_at"], json!(null));
    assert_eq!(call(&simulator, "POST", &path("resume"), "{}").await.status, 409);
    assert_eq!(call(&simulator, "POST", &path("edit"), &body("dog", 60)).await.status, 409);

    simulator.advance_steps(&id, 15);
    let status = call(&simulator, "GET", &path("status"), "").await.json();
    assert_eq!(status["status"], "RUNNING");
    assert_eq!(status["progress"], json!({"current_step": 15, "total_steps": 40, "percent": 37}));
    let running = result(&simulator, &id).await;
    assert_eq!(running["finished_at"], json!(null));

    let canceled = call(&simulator, "POST", &path("cancel"), "").await.json();
    assert_eq!(canceled, json!({"id": id.as_str(), "name": "dog", "status": "CANCELED"}));
    assert_eq!(call(&simulator, "POST", &path("cancel"), "").await.status, 409);
    assert!(result(&simulator, &id).await["finished_at"].is_string());

    assert_eq!(call(&simulator, "POST", &path("edit"), &body("cat", 60)).await.status, 400);
    let edited = call(&simulator, "POST", &path("edit"), &body("dog", 60)).await.json();
    assert_eq!(edited["status"], "CANCELED");
    let resumed = call(&simulator, "POST", &path("resume"), "{}").await.json();
    assert_eq!(resumed["id"], id.as_str());
    simulator.advance_steps(&id, 0);
    let status = call(&simulator, "GET", &path("status"), "").await.json();
    assert_eq!(status["progress"]["current_step"], 10, "from the latest checkpoint");
    assert_eq!(status["progress"]["total_steps"], 60);
    let again = result(&simulator, &id).await;
    assert_ne!(again["started_at"], running["started_at"]);
    assert_eq!(again["created_at"], running["created_at"]);
    assert_eq!(again["finished_at"], json!(null));
}

#[tokio::test]
async fn bad_submissions_are_400() {
    let simulator = start().await;
    let good = body("dog", 40);
    for bad in [
        "[]".to_owned(),
        good.replace("yaml", "toml"),
        good.replace("ADA_80_PLUS", "ATARI"),
        good.replace("ADA_80_PLUS\"", "HOPPER_141\",\"gpu_count\":8"),
        body("", 40),
    ] {
        let answer = call(&simulator, "POST", "", &bad).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(answer.json()["error_code"], 40051);
    }
}

#[tokio::test]
async fn a_failure_is_in_status_and_result() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    simulator.advance_steps(&job, 12);
    simulator.fail(&job, "CUDA out of memory");
    let status = call(&simulator, "GET", &format!("/{job}/status"), "").await.json();
    assert_eq!(
        (&status["status"], &status["error"]["message"]),
        (&json!("FAILED"), &json!("CUDA out of memory"))
    );
    assert_eq!(result(&simulator, &job).await["error"]["message"], "CUDA out of memory");
}

#[tokio::test]
async fn time_stamps_have_no_zone_and_microseconds() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    assert_eq!(result(&simulator, &job).await["created_at"], "2026-01-31T12:00:00.143086");
}

#[tokio::test]
async fn an_answer_can_be_cut_or_about_another_job() {
    let simulator = start().await;
    let job = simulator.add_job(small());
    simulator.fault(Fault::once("/status", What::Truncated));
    simulator.fault(Fault::once("/status", What::WrongJob));
    let path = format!("/{job}/status");
    let cut = call(&simulator, "GET", &path, "").await;
    assert!(cut.whole && serde_json::from_slice::<serde_json::Value>(&cut.body).is_err());
    assert_ne!(call(&simulator, "GET", &path, "").await.json()["id"], job.as_str());
    assert_eq!(call(&simulator, "GET", &path, "").await.json()["id"], job.as_str());
}
