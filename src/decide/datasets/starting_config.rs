//! A commented AI Toolkit configuration to begin with: values that AI Toolkit's own examples and web interface start
//! from, and what people change and why.

use std::fmt::Write as _;

use super::paths::DATASETS;

/// A base model with a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BaseModel {
    /// FLUX.1-dev
    Flux,
    /// FLUX.1-schnell
    FluxSchnell,
    /// FLUX.1-Kontext-dev
    FluxKontext,
    /// Flex.1-alpha
    Flex,
    /// Chroma1-Base
    Chroma,
    /// SDXL 1.0
    Sdxl,
    /// Stable Diffusion 3.5 Large
    Sd35,
    /// Qwen-Image
    QwenImage,
    /// Qwen-Image-Edit-2509
    QwenImageEdit,
    /// HiDream-I1-Full
    Hidream,
    /// Z-Image-Turbo
    ZImage,
    /// Wan 2.1 14B, text to video
    Wan21,
    /// Wan 2.2 14B, text to video
    Wan22,
}

impl BaseModel {
    /// All models, for tests.
    #[cfg(any(test, feature = "internals"))]
    pub const ALL: [Self; 13] = [
        Self::Flux,
        Self::FluxSchnell,
        Self::FluxKontext,
        Self::Flex,
        Self::Chroma,
        Self::Sdxl,
        Self::Sd35,
        Self::QwenImage,
        Self::QwenImageEdit,
        Self::Hidream,
        Self::ZImage,
        Self::Wan21,
        Self::Wan22,
    ];

    /// Whether it can be trained on clips.
    #[must_use]
    pub const fn takes_clips(self) -> bool {
        matches!(self, Self::Wan21 | Self::Wan22)
    }

    /// Whether it learns from pairs: pictures before and after an edit.
    #[must_use]
    pub const fn learns_edits(self) -> bool {
        matches!(self, Self::FluxKontext | Self::QwenImageEdit)
    }
}

/// What a configuration is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes<'w> {
    /// The job's name.
    pub name: &'w str,
    /// The dataset's name.
    pub dataset: &'w str,
    /// The folder, as it is typed in commands.
    pub folder: &'w str,
    /// Lines of a comment at the begin: what the file is, and what to do with it.
    pub notes: &'w [String],
    /// The base model.
    pub model: BaseModel,
    /// The trigger word.
    pub trigger: Option<&'w str>,
    /// The extension of captions, without its dot.
    pub caption_ext: &'w str,
    /// How many pictures there are.
    pub pictures: usize,
    /// How many clips there are.
    pub clips: usize,
    /// How many captions there are.
    pub captions: usize,
}

/// What differs between models.
struct Family {
    title: &'static str,
    path: &'static str,
    /// Lines of `model`, below the path.
    model: &'static [&'static str],
    /// Lines of `network`, below the rank.
    network: &'static [&'static str],
    /// Lines of `train`, below the learning rate.
    train: &'static [&'static str],
    scheduler: &'static str,
    rank: u32,
    rate: &'static str,
    guidance: &'static str,
    sample_steps: u32,
    size: (u32, u32),
}

const EIGHT_BITS: &str = "quantize: true  # weights in 8 bits: less memory, hardly any loss";
const EIGHT_BITS_TE: &str = "quantize_te: true";
const QTYPE: &str = "qtype: qfloat8";
const QTYPE_TE: &str = "qtype_te: qfloat8";
const LOW_VRAM: &str = "low_vram: true";

const TEXTS_CACHED: &str =
    "cache_text_embeddings: true  # captions are encoded once; caption_dropout_rate has no effect then";

impl BaseModel {
    fn family(self) -> Family {
        let flux = Family {
            title: "FLUX.1-dev",
            path: "black-forest-labs/FLUX.1-dev",
            model: &["arch: flux", EIGHT_BITS, EIGHT_BITS_TE],
            network: &[],
            train: &[],
            scheduler: "flowmatch",
            rank: 16,
            rate: "1e-4",
            guidance: "4",
            sample_steps: 20,
            size: (1024, 1024),
        };
        match self {
            Self::Flux => flux,
            Self::FluxSchnell => Family {
                title: "FLUX.1-schnell",
                path: "black-forest-labs/FLUX.1-schnell",
                model: &[
                    "arch: flux",
                    "assistant_lora_path: ostris/FLUX.1-schnell-training-adapter  # schnell needs it to be trained",
                    EIGHT_BITS,
                    EIGHT_BITS_TE,
                ],
                guidance: "1  # schnell has no guidance",
                sample_steps: 4,
                ..flux
            },
            Self::FluxKontext => Family {
                title: "FLUX.1-Kontext-dev",
                path: "black-forest-labs/FLUX.1-Kontext-dev",
                model: &["arch: flux_kontext", EIGHT_BITS, EIGHT_BITS_TE],
                train: &["timestep_type: weighted"],
                ..flux
            },
            Self::Flex => Family {
                title: "Flex.1-alpha",
                path: "ostris/Flex.1-alpha",
                model: &["arch: flux", EIGHT_BITS, "quantize_kwargs:", "  exclude: [\"*time_text_embed*\"]"],
                train: &["bypass_guidance_embedding: true  # Flex is trained without its guidance"],
                sample_steps: 25,
                ..flux
            },
            Self::Chroma => Family {
                title: "Chroma",
                path: "lodestones/Chroma1-Base",
                model: &["arch: chroma", EIGHT_BITS, EIGHT_BITS_TE],
                sample_steps: 25,
                ..flux
            },
            Self::Sdxl => Family {
                title: "SDXL 1.0",
                path: "stabilityai/stable-diffusion-xl-base-1.0",
                model: &["arch: sdxl"],
                scheduler: "ddpm",
                rank: 32,
                guidance: "6",
                sample_steps: 25,
                ..flux
            },
            Self::Sd35 => Family {
                title: "Stable Diffusion 3.5 Large",
                path: "stabilityai/stable-diffusion-3.5-large",
                model: &["arch: sd3", EIGHT_BITS],
                train: &["timestep_type: linear"],
                sample_steps: 25,
                ..flux
            },
            Self::QwenImage => Family {
                title: "Qwen-Image",
                path: "Qwen/Qwen-Image",
                model: &["arch: qwen_image", EIGHT_BITS, QTYPE, EIGHT_BITS_TE, QTYPE_TE, LOW_VRAM],
                train: &["timestep_type: weighted", TEXTS_CACHED],
                guidance: "3",
                sample_steps: 25,
                ..flux
            },
            Self::QwenImageEdit => Family {
                title: "Qwen-Image-Edit-2509",
                path: "Qwen/Qwen-Image-Edit-2509",
                model: &["arch: qwen_image_edit_plus", EIGHT_BITS, QTYPE, EIGHT_BITS_TE, QTYPE_TE, LOW_VRAM],
                train: &["timestep_type: weighted", TEXTS_CACHED],
                guidance: "3",
                sample_steps: 25,
                ..flux
            },
            Self::Hidream => Family {
                title: "HiDream-I1-Full",
                path: "HiDream-ai/HiDream-I1-Full",
                model: &[
                    "extras_name_or_path: HiDream-ai/HiDream-I1-Full",
                    "arch: hidream",
                    EIGHT_BITS,
                    EIGHT_BITS_TE,
                    "model_kwargs:",
                    "  llama_model_path: unsloth/Meta-Llama-3.1-8B-Instruct",
                ],
                network: &[
                    "network_kwargs:",
                    "  ignore_if_contains: [ff_i.experts, ff_i.gate]  # its experts are not trained",
                ],
                train: &["timestep_type: shift"],
                rank: 32,
                rate: "2e-4",
                sample_steps: 25,
                ..flux
            },
            Self::ZImage => Family {
                title: "Z-Image-Turbo",
                path: "Tongyi-MAI/Z-Image-Turbo",
                model: &[
                    "arch: zimage",
                    "assistant_lora_path: ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors",
                    EIGHT_BITS,
                    QTYPE,
                    EIGHT_BITS_TE,
                    QTYPE_TE,
                    LOW_VRAM,
                ],
                train: &["timestep_type: weighted"],
                guidance: "1  # the turbo model has no guidance",
                sample_steps: 9,
                ..flux
            },
            Self::Wan21 => Family {
                title: "Wan 2.1 14B (text to video)",
                path: "Wan-AI/Wan2.1-T2V-14B-Diffusers",
                model: &["arch: wan21", EIGHT_BITS, EIGHT_BITS_TE, "low_vram: true"],
                train: &["timestep_type: sigmoid"],
                rank: 32,
                guidance: "5",
                sample_steps: 30,
                size: (832, 480),
                ..flux
            },
            Self::Wan22 => Family {
                title: "Wan 2.2 14B (text to video)",
                path: "ai-toolkit/Wan2.2-T2V-A14B-Diffusers-bf16",
                model: &[
                    "arch: wan22_14b",
                    EIGHT_BITS,
                    QTYPE,
                    EIGHT_BITS_TE,
                    QTYPE_TE,
                    LOW_VRAM,
                    "model_kwargs:",
                    "  train_high_noise: true  # composition and motion; both false is not possible",
                    "  train_low_noise: true   # details; of a likeness alone, high noise may be left out",
                ],
                train: &[
                    "timestep_type: linear",
                    "switch_boundary_every: 10  # its two halves take turns; each change moves a model, so not 1",
                    TEXTS_CACHED,
                ],
                rank: 32,
                guidance: "3.5",
                sample_steps: 25,
                size: (832, 480),
                ..flux
            },
        }
    }
}

/// Returns the configuration.
#[must_use]
pub fn starting_config(wishes: &Wishes<'_>) -> String {
    let family = wishes.model.family();
    let mut text = Text::default();
    heading(wishes, &family, &mut text);
    text.line(0, "job: extension");
    text.line(0, "config:");
    text.line(2, &format!("name: {}  # all files of the job are named after it", quoted(wishes.name)));
    text.line(2, "process:");
    text.line(4, "- type: sd_trainer");
    text.line(6, "training_folder: /app/ai-toolkit/output  # the trainer's own; has to stay");
    text.line(6, "device: cuda:0");
    trigger(wishes, &mut text);
    network(&family, &mut text);
    text.line(6, "save:");
    text.line(8, "dtype: float16");
    text.line(8, "save_every: 250  # steps; the best checkpoint is often not the last one");
    text.line(
        8,
        "max_step_saves_to_keep: 4  # older ones are deleted there; rcsync has fetched them by then",
    );
    datasets(wishes, &mut text);
    train(wishes, &family, &mut text);
    text.line(6, "model:");
    text.line(8, &format!("name_or_path: {}", family.path));
    text.lines(8, family.model);
    sample(wishes, &family, &mut text);
    text.line(0, "meta:");
    text.line(2, "name: \"[name]\"");
    text.line(2, "version: \"1.0\"");
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, indent: usize, line: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "{:indent$}{line}", "");
    }

    fn lines(&mut self, indent: usize, lines: &[&str]) {
        lines.iter().for_each(|line| self.line(indent, line));
    }
}

/// Returns text as a quoted scalar, which JSON's form is too.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in serde_json::Value::from(text).to_string().chars() {
        match c {
            // JSON takes these as they are, YAML only as an escape.
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                // Writing into a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    // The trainer replaces `${…}` in the text of the file, before it reads it as YAML.
    quoted.replace("${", "\\x24{")
}

/// Returns text that may be in a comment: one line, and nothing that the trainer's reader replaces.
fn plain(text: &str) -> String {
    crate::model::names::sanitize::for_terminal(text, 200).replace("${", "$ {")
}

fn heading(wishes: &Wishes<'_>, family: &Family, text: &mut Text) {
    let Wishes { folder, pictures, clips, captions, .. } = wishes;
    let counts = [(*pictures, "picture"), (*clips, "clip"), (*captions, "caption")];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    let folder = plain(folder);
    text.line(0, &format!("# A LoRA for {}, trained on {folder} ({}).", family.title, counts.join(", ")));
    for line in wishes.notes {
        text.line(0, format!("# {}", plain(line)).trim_end());
    }
}

fn trigger(wishes: &Wishes<'_>, text: &mut Text) {
    match wishes.trigger {
        Some(word) => {
            text.line(
                6,
                "# Replaces [trigger] in captions and prompts, and is put before captions without it.",
            );
            text.line(6, &format!("trigger_word: {}", quoted(word)));
        }
        None => {
            text.line(6, "# A rare word for what is trained replaces [trigger] in captions and prompts, and is put before captions");
            text.line(6, "# without it. A person or a thing mostly has one; a style can do without. Take the `#` away to have one:");
            text.line(6, "# trigger_word: \"d0gx\"");
        }
    }
}

fn network(family: &Family, text: &mut Text) {
    text.line(6, "network:");
    text.line(8, "type: lora");
    text.line(8, "# The rank. More (32, 64) holds more detail, makes a larger file and learns mistakes sooner; 8 can be enough");
    text.line(
        8,
        "# for one face. Alpha is mostly the same number; half of it acts like half the learning rate.",
    );
    text.line(8, &format!("linear: {}", family.rank));
    text.line(8, &format!("linear_alpha: {}", family.rank));
    text.lines(8, family.network);
}

fn datasets(wishes: &Wishes<'_>, text: &mut Text) {
    let has_clips = wishes.model.takes_clips() && wishes.clips > 0;
    text.line(6, "datasets:");
    text.line(8, &format!("- folder_path: {}", quoted(&format!("{DATASETS}{}", wishes.dataset))));
    if wishes.model.learns_edits() {
        text.line(
            10,
            "# The pictures before the edit, in a dataset of their own, with the same names before the dot.",
        );
        text.line(10, &format!("control_path: {}", quoted(&format!("{DATASETS}{}_control", wishes.dataset))));
    }
    text.line(10, &format!("caption_ext: {}", quoted(wishes.caption_ext)));
    if wishes.captions == 0 {
        text.line(10, "# There are no captions; this one is for all pictures:");
        let hash = if wishes.trigger.is_some() { "" } else { "# " };
        text.line(10, &format!("{hash}default_caption: \"[trigger]\""));
    }
    text.line(10, "caption_dropout_rate: 0.05  # this part of the steps is without words: the LoRA works without them, too");
    text.line(10, "cache_latents_to_disk: true");
    if has_clips {
        text.line(
            10,
            "# Frames of each clip, 4 n + 1: 41 at 16 a second are 2.6 s. More need more memory and time.",
        );
        text.line(10, "num_frames: 41");
        text.line(10, "fps: 16");
        text.line(10, "resolution: [512]  # [512, 768] is sharper and takes about three times as long");
    } else {
        text.line(
            10,
            "num_frames: 1  # pictures; with clips in the folder a video model needs more, such as 41",
        );
        text.line(10, "# Each picture is trained at each of these sizes. Leave out those that are larger than your pictures.");
        text.line(
            10,
            if wishes.model == BaseModel::Sdxl {
                "resolution: [1024]"
            } else {
                "resolution: [512, 768, 1024]"
            },
        );
    }
}

fn train(wishes: &Wishes<'_>, family: &Family, text: &mut Text) {
    let steps = if wishes.model.learns_edits() { 3000 } else { 2000 };
    text.line(6, "train:");
    text.line(8, "batch_size: 1  # more is smoother and slower a step; then take fewer steps");
    text.line(8, "# 500 to 4000. Too few: it does not look like your pictures. Too many: every picture looks like one of them.");
    text.line(8, "# About 100 for each picture is a beginning; compare the samples and keep the checkpoint that you like.");
    text.line(8, &format!("steps: {steps}"));
    text.line(8, "gradient_accumulation: 1");
    text.line(8, "train_unet: true");
    text.line(8, "train_text_encoder: false");
    text.line(8, "gradient_checkpointing: true  # much less memory for a little time");
    text.line(8, &format!("noise_scheduler: {}", family.scheduler));
    text.line(8, "optimizer: adamw8bit");
    text.line(
        8,
        "# Halve it where samples break or look burnt; double it where nothing happens for 1000 steps.",
    );
    text.line(8, &format!("lr: {}", family.rate));
    text.lines(8, family.train);
    text.line(8, "dtype: bf16");
    if wishes.model.learns_edits() {
        text.line(8, "# A sample needs a picture to edit. To have some, name one of the control dataset below and remove this line.");
        text.line(8, "disable_sampling: true");
    }
}

fn sample(wishes: &Wishes<'_>, family: &Family, text: &mut Text) {
    let has_clips = wishes.model.takes_clips() && wishes.clips > 0;
    let (width, height) = family.size;
    text.line(6, "sample:");
    text.line(8, &format!("sampler: {}", family.scheduler));
    text.line(8, "sample_every: 250  # as often as it saves, so that each checkpoint has its samples");
    text.line(8, &format!("width: {width}"));
    text.line(8, &format!("height: {height}"));
    if has_clips {
        text.line(8, "num_frames: 41");
        text.line(8, "fps: 16");
    }
    text.line(8, "# Write what you will make with it, in the words of your captions. Each prompt costs time at each sampling.");
    if wishes.model.learns_edits() {
        text.line(8, "samples:");
        text.line(8, "  - prompt: \"make the edit\"");
        let control = format!("{DATASETS}{}_control/1.jpg", wishes.dataset);
        text.line(8, &format!("    ctrl_img: {}", quoted(&control)));
    } else {
        text.line(8, "prompts:");
        let subject = if wishes.trigger.is_some() { "[trigger]" } else { "the subject" };
        for prompt in [
            format!("{subject}, photograph, soft daylight"),
            format!("{subject} on a beach at sunset"),
            format!("a pencil drawing of {subject}"),
        ] {
            text.line(8, &format!("  - {}", quoted(&prompt)));
        }
    }
    text.line(8, "neg: \"\"");
    text.line(8, "seed: 42  # the same for each sampling, so that steps can be compared");
    text.line(8, "walk_seed: true");
    text.line(8, &format!("guidance_scale: {}", family.guidance));
    text.line(8, &format!("sample_steps: {}", family.sample_steps));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::jobs::preflight::{objections, warnings};
    use crate::model::training_config::TrainingConfig;

    fn wishes(model: BaseModel) -> Wishes<'static> {
        Wishes {
            name: "dog",
            dataset: "dog-photos",
            folder: "./dog-photos",
            notes: &[],
            model,
            trigger: None,
            caption_ext: "txt",
            pictures: 20,
            clips: 0,
            captions: 20,
        }
    }

    #[test]
    fn each_model_has_a_configuration_without_findings() {
        for model in BaseModel::ALL {
            for (trigger, clips, captions) in
                [(None, 0, 20), (Some("d0gx"), 3, 0), (Some("a \"b\" \\ c: #"), 3, 1)]
            {
                let text = starting_config(&Wishes { trigger, clips, captions, ..wishes(model) });
                let config =
                    TrainingConfig::parse(&text).unwrap_or_else(|fault| panic!("{model:?}: {fault}\n{text}"));
                assert_eq!(objections(&config), [], "{model:?}\n{text}");
                assert_eq!(warnings(&config), [], "{model:?}\n{text}");
                let process = &config.processes[0];
                assert_eq!(config.name.as_ref().map(|it| it.text.as_str()), Some("dog"));
                assert_eq!(process.trigger_word.as_ref().map(|it| it.text.as_str()), trigger);
                assert_eq!(process.datasets[0].takes_clips(), model.takes_clips() && clips > 0, "{model:?}");
                assert_eq!(
                    process.datasets[0].companions.len(),
                    usize::from(model.learns_edits()),
                    "{model:?}"
                );
                assert_eq!(process.saving.save_every, Some(250));
                assert!(
                    text.lines().all(|line| line.chars().count() <= 125 && !line.ends_with(' ')),
                    "{text}"
                );
                assert!(text.is_ascii() && !text.contains('\t'), "{text}");
            }
        }
    }

    #[test]
    fn names_of_any_kind_are_quoted() {
        for name in ["2024", "on", "größe", "a: b", "12:30", "it's", "# x"] {
            let (folder, trigger) = ("a ${b}\n folder", Some("t${x} y"));
            let text = starting_config(&Wishes { name, folder, trigger, ..wishes(BaseModel::Flux) });
            let config = TrainingConfig::parse(&text).unwrap();
            let word = config.processes[0].trigger_word.as_ref();
            assert_eq!(word.map(|it| it.text.as_str()), trigger);
            assert_eq!(config.name.as_ref().map(|it| it.text.as_str()), Some(name));
            assert_eq!(objections(&config), [], "{name}");
        }
    }
}
