//! Reading a submitted AI Toolkit configuration, and writing one.
//!
//! The one idea: lenient about all that a mirror does not need; only `config.name` must be there.

use serde::Deserialize;

use super::plan::{Family, JobPlan, PictureFormat};

/// More steps than any training has; keeps a typing error from filling the memory with samples.
const MOST_STEPS: u64 = 1_000_000;

/// More prompts than any training has.
const MOST_PROMPTS: usize = 1000;

/// Reads `text` as an AI Toolkit configuration; what it does not say is taken from `habits`.
pub(crate) fn plan(text: &str, habits: &JobPlan) -> Result<JobPlan, String> {
    let document: Document =
        serde_saphyr::from_str(text).map_err(|error| format!("config_file is not valid YAML: {error}"))?;
    let name = document.config.name.unwrap_or_default();
    if name.trim().is_empty() {
        return Err("config.name is missing".to_owned());
    }
    let process = document.config.process.into_iter().next().unwrap_or_default();
    let steps = process.train.and_then(|train| train.steps).unwrap_or(habits.steps);
    if steps == 0 || steps > MOST_STEPS {
        return Err(format!("train.steps must be between 1 and {MOST_STEPS}"));
    }
    let save = process.save.unwrap_or_default();
    let sample = process.sample.unwrap_or_default();
    let pairs = process.model.and_then(|model| model.arch).is_some_and(|arch| arch.starts_with("wan22_14b"));
    let prompts = sample.prompts();
    Ok(JobPlan {
        name,
        steps,
        save_every: save.save_every.unwrap_or(habits.save_every),
        keep: save.max_step_saves_to_keep.unwrap_or(habits.keep),
        sample_every: sample.sample_every.unwrap_or(habits.sample_every),
        sample_seed: sample.seed.unwrap_or(habits.sample_seed),
        sample_format: match sample.format.as_deref() {
            Some("png") => PictureFormat::Png,
            Some(_) => PictureFormat::Jpg,
            None => habits.sample_format,
        },
        first_sample: sample.skip_first_sample.map_or(habits.first_sample, |skip| !skip),
        prompts: prompts.unwrap_or_else(|| habits.prompts.clone()),
        family: if pairs { Family::Wan22 } else { habits.family },
        ..habits.clone()
    })
}

/// Writes the configuration that leads to `plan`.
pub(crate) fn yaml(plan: &JobPlan) -> String {
    // JSON strings are YAML strings, whatever characters are in them.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let prompts: String =
        plan.prompts.iter().map(|prompt| format!("          - {}\n", quoted(prompt))).collect();
    let prompts = if prompts.is_empty() { "[]\n".to_owned() } else { format!("\n{prompts}") };
    let arch = match plan.family {
        Family::Flux => "flux",
        Family::Wan22 => "wan22_14b",
    };
    format!(
        r#"job: extension
config:
  name: {name}
  process:
    - type: diffusion_trainer
      training_folder: /app/ai-toolkit/output
      network:
        type: lora
        linear: 16
      save:
        dtype: bf16
        save_every: {save_every}
        max_step_saves_to_keep: {keep}
      train:
        steps: {steps}
      model:
        arch: {arch}
      sample:
        sample_every: {sample_every}
        format: {format}
        seed: {seed}
        walk_seed: true
        skip_first_sample: {skip_first}
        prompts: {prompts}meta:
  name: "[name]"
  version: "1.0"
"#,
        name = quoted(&plan.name),
        save_every = plan.save_every,
        keep = plan.keep,
        steps = plan.steps,
        sample_every = plan.sample_every,
        format = plan.sample_format.extension(),
        seed = plan.sample_seed,
        skip_first = !plan.first_sample,
    )
}

#[derive(Deserialize)]
struct Document {
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    name: Option<String>,
    #[serde(default)]
    process: Vec<Process>,
}

#[derive(Deserialize, Default)]
struct Process {
    train: Option<Train>,
    save: Option<Save>,
    sample: Option<Sampling>,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Train {
    steps: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Save {
    save_every: Option<u64>,
    max_step_saves_to_keep: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Sampling {
    sample_every: Option<u64>,
    seed: Option<u64>,
    format: Option<String>,
    skip_first_sample: Option<bool>,
    prompts: Option<Vec<String>>,
    samples: Option<Vec<SamplePrompt>>,
}

#[derive(Deserialize)]
struct SamplePrompt {
    prompt: Option<String>,
}

#[derive(Deserialize)]
struct Model {
    arch: Option<String>,
}

impl Sampling {
    /// The newer form lists objects under `samples`, the older one strings under `prompts`.
    fn prompts(&self) -> Option<Vec<String>> {
        let newer = self.samples.iter().flatten().map(|sample| sample.prompt.clone().unwrap_or_default());
        let newer: Vec<String> = newer.take(MOST_PROMPTS).collect();
        if newer.is_empty() {
            self.prompts.as_ref().map(|prompts| prompts.iter().take(MOST_PROMPTS).cloned().collect())
        } else {
            Some(newer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let written = JobPlan {
            name: "a: \"b\" #c".to_owned(),
            steps: 123,
            save_every: 7,
            keep: 2,
            sample_every: 9,
            prompts: vec!["- one: {".to_owned(), "größer".to_owned()],
            sample_format: PictureFormat::Png,
            sample_seed: 5,
            first_sample: false,
            family: Family::Wan22,
            ..JobPlan::default()
        };
        let read = plan(&yaml(&written), &JobPlan::default()).expect("valid");
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        let silent = JobPlan { prompts: Vec::new(), ..written };
        assert_eq!(plan(&yaml(&silent), &JobPlan::default()).map(|plan| plan.prompts.len()), Ok(0));
    }

    #[test]
    fn the_documentation_example_is_enough() {
        let text = "job: extension\nconfig:\n  name: \"trainingjobname1\"\n  process:\n    - save:\n      datasets:\n        folder_path: \"/x\"\nmeta:\n  name: \"[name]\"\n";
        let read = plan(text, &JobPlan::default()).expect("valid");
        assert_eq!((read.name.as_str(), read.steps, read.keep), ("trainingjobname1", 2000, 4));
    }

    #[test]
    fn newer_sample_lists_are_read() {
        let text = "config:\n  name: x\n  process:\n    - sample:\n        samples:\n          - prompt: one\n            width: 5\n          - prompt: two\n";
        assert_eq!(
            plan(text, &JobPlan::default()).map(|plan| plan.prompts),
            Ok(vec!["one".into(), "two".into()])
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (text, why) in [
            ("config: [", "not valid YAML"),
            ("config:\n  process: []\n", "config.name is missing"),
            ("config:\n  name: x\n  process: [{train: {steps: 0}}]\n", "train.steps"),
        ] {
            let error = plan(text, &JobPlan::default()).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
    }
}
