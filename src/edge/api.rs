//! The Trainer API client (stand-in until the client lands).

use crate::error::ApiError;
use crate::model::artifact::ArtifactKind;
use crate::model::job::*;
use crate::model::source_url::SourceUrl;

/// Stand-in.
#[derive(Debug, Clone)]
pub struct ApiClient {
    /// Base.
    pub base: String,
    /// Token.
    pub token: String,
}

impl ApiClient {
    async fn fetch(&self, job: &JobId, what: &str) -> Result<serde_json::Value, ApiError> {
        let url = format!("{}/trainers/ai-toolkit/jobs/{job}/{what}", self.base);
        let answer = reqwest::Client::new().get(url).bearer_auth(&self.token).send().await;
        let text = match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => {
                return Err(ApiError::Unreachable {
                    origin: self.base.clone(),
                    cause: error.without_url().to_string(),
                });
            }
        };
        serde_json::from_str(&text).map_err(|error| ApiError::Unintelligible { why: error.to_string() })
    }
    /// Status.
    pub async fn status(&self, job: &JobId) -> Result<StatusAnswer, ApiError> {
        let v = self.fetch(job, "status").await?;
        Ok(StatusAnswer {
            name: v["name"].as_str().map(str::to_owned),
            status: v["status"].as_str().unwrap_or_default().to_owned().into(),
            progress: serde_json::from_value(v["progress"].clone()).unwrap_or_default(),
            error: None,
            times: JobTimes::default(),
        })
    }
    /// Result.
    pub async fn result(&self, job: &JobId) -> Result<ResultAnswer, ApiError> {
        let v = self.fetch(job, "result").await?;
        let mut artifacts = Vec::new();
        let mut add = |kind, v: &serde_json::Value| {
            if let Some(Ok(url)) = v["path"].as_str().map(SourceUrl::parse) {
                let sample = (kind == ArtifactKind::Sample)
                    .then(|| serde_json::from_value(v.clone()).unwrap_or_default());
                artifacts.push(ListedArtifact { kind, url, sample });
            }
        };
        for c in v["artifacts"]["checkpoints"].as_array().into_iter().flatten() {
            add(ArtifactKind::Checkpoint, c);
        }
        for c in v["artifacts"]["samples"].as_array().into_iter().flatten() {
            add(ArtifactKind::Sample, c);
        }
        add(ArtifactKind::Config, &v["artifacts"]["config"]);
        Ok(ResultAnswer {
            name: v["name"].as_str().map(str::to_owned),
            status: None,
            artifacts,
            unusable: vec![],
            error: None,
            times: JobTimes {
                created_at: None,
                started_at: v["started_at"].as_str().map(str::to_owned),
                finished_at: v["finished_at"].as_str().map(str::to_owned),
            },
        })
    }
    /// Origin.
    pub fn origin(&self) -> String {
        self.base.clone()
    }
    /// Private?
    pub fn is_private(&self) -> bool {
        true
    }
}
