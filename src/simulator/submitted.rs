//! Reading a submitted AI Toolkit configuration, and writing one.
//!
//! The one idea: lenient about all that a mirror does not need; only `config.name` must be there.

use serde_json::Value;

use super::plan::{Family, JobPlan, PictureFormat};

/// More steps than any training has; keeps a typing error from filling the memory with samples.
const MOST_STEPS: u64 = 1_000_000;

/// More prompts than any training has.
const MOST_PROMPTS: usize = 1000;

/// Reads `text` as an AI Toolkit configuration; what it does not say is taken from `habits`.
pub(crate) fn plan(text: &str, habits: &JobPlan) -> Result<JobPlan, String> {
    let document: Value =
        serde_saphyr::from_str(text).map_err(|error| format!("config_file is not valid YAML: {error}"))?;
    let name = match document.pointer("/config/name") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Number(name)) => name.to_string(),
        _ => String::new(),
    };
    if name.trim().is_empty() {
        return Err("config.name is missing".to_owned());
    }
    let process = document.pointer("/config/process/0").unwrap_or(&Value::Null);
    let number = |path: &str, habit: u64| process.pointer(path).and_then(Value::as_u64).unwrap_or(habit);
    let steps = number("/train/steps", habits.steps);
    if steps == 0 || steps > MOST_STEPS {
        return Err(format!("train.steps must be between 1 and {MOST_STEPS}"));
    }
    let arch = process.pointer("/model/arch").and_then(Value::as_str);
    let skip_first = process.pointer("/sample/skip_first_sample").and_then(Value::as_bool);
    Ok(JobPlan {
        name,
        steps,
        save_every: number("/save/save_every", habits.save_every),
        keep: number("/save/max_step_saves_to_keep", habits.keep),
        sample_every: number("/sample/sample_every", habits.sample_every),
        sample_seed: number("/sample/seed", habits.sample_seed),
        sample_format: match process.pointer("/sample/format").and_then(Value::as_str) {
            Some("png") => PictureFormat::Png,
            Some(_) => PictureFormat::Jpg,
            None => habits.sample_format,
        },
        first_sample: skip_first.map_or(habits.first_sample, |skip| !skip),
        prompts: prompts(process).unwrap_or_else(|| habits.prompts.clone()),
        family: match arch {
            Some(arch) if arch.starts_with("wan22_14b") => Family::Wan22,
            _ => habits.family,
        },
        ..habits.clone()
    })
}

/// The newer form lists objects under `samples`, the older one strings under `prompts`.
fn prompts(process: &Value) -> Option<Vec<String>> {
    let text = |prompt: Option<&Value>| prompt.and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |path: &str| process.pointer(path).and_then(Value::as_array);
    if let Some(samples) = list("/sample/samples") {
        return Some(samples.iter().take(MOST_PROMPTS).map(|sample| text(sample.get("prompt"))).collect());
    }
    Some(list("/sample/prompts")?.iter().take(MOST_PROMPTS).map(|prompt| text(Some(prompt))).collect())
}

/// Writes the configuration that leads to `plan`.
pub(crate) fn yaml(plan: &JobPlan) -> String {
    // JSON strings are YAML strings, whatever characters are in them.
    let quoted = |text: &str| Value::from(text).to_string();
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
    fn odd_values_do_not_matter() {
        let text = "config:\n  name: 12\n  1: x\n  process:\n    - sample: {seed: -1, prompts: [1, ~, a]}\n      train: {steps: many, lr: 1e-4}\n      save:\n";
        let read = plan(text, &JobPlan::default()).expect("valid");
        assert_eq!((read.name.as_str(), read.steps, read.sample_seed), ("12", 2000, 42));
        assert_eq!(read.prompts, ["", "", "a"]);
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
