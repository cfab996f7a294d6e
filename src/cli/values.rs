//! How single values are written on a command line, in a variable and in `config.toml`: one reader for all three.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use jiff::SignedDuration;
use url::Url;

use crate::decide::datasets::BaseModel;
use crate::edge::api::requests::{GpuCount, GpuType};
use crate::edge::system::link::LinkMode;
use crate::engine::options::OnChange;
use crate::model::artifact::ArtifactKind;
use crate::model::units::{ByteCount, ByteCountError};

/// Implements the words of the command line for an enum of a lower layer, which knows no command line.
macro_rules! words {
    ($kind:ident { $($variant:ident = $word:literal $(| $alias:literal)* $(($help:literal))?),* $(,)? }) => {
        impl ValueEnum for $kind {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),*]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(match self {
                    $(Self::$variant => PossibleValue::new($word)$(.alias($alias))*$(.help($help))?,)*
                })
            }
        }
    };
}

words!(ArtifactKind {
    Checkpoint = "checkpoints" | "checkpoint",
    Sample = "samples" | "sample",
    Config = "config" | "configs",
});

words!(OnChange { Keep = "keep", Replace = "replace" });

words!(LinkMode { Auto = "auto", Reflink = "reflink", Hardlink = "hardlink", Copy = "copy" });

// The web page calls them H100 and H200.
words!(GpuType { Ada80Plus = "ADA_80_PLUS" | "H100", Hopper141 = "HOPPER_141" | "H200" });

words!(BaseModel {
    Flux = "flux" | "flux1" | "flux-dev" ("FLUX.1-dev"),
    FluxSchnell = "flux-schnell" ("FLUX.1-schnell"),
    FluxKontext = "flux-kontext" | "kontext" ("FLUX.1-Kontext-dev: edits, trained on pairs of pictures"),
    Flex = "flex" ("Flex.1-alpha"),
    Chroma = "chroma" ("Chroma"),
    Sdxl = "sdxl" ("SDXL 1.0"),
    Sd35 = "sd35" ("Stable Diffusion 3.5 Large"),
    QwenImage = "qwen-image" ("Qwen-Image"),
    QwenImageEdit = "qwen-image-edit" ("Qwen-Image-Edit-2509: edits, trained on pairs of pictures"),
    Hidream = "hidream" ("HiDream-I1-Full"),
    ZImage = "z-image" ("Z-Image-Turbo"),
    Wan21 = "wan21" ("Wan 2.1 14B, text to video"),
    Wan22 = "wan22" ("Wan 2.2 14B, text to video"),
});

/// Reads the address of a running ComfyUI.
pub(crate) fn server(text: &str) -> Result<Url, String> {
    const FORM: &str = "write it like `http://127.0.0.1:8188`";
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).map_err(|_| FORM.to_owned())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(FORM.to_owned()) }
}

/// A word of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Words and tables for people.
    #[default]
    Pretty,
    /// JSON: events one a line, documents one a command.
    Json,
}

/// A word of `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ProgressWhen {
    /// Bars on a terminal.
    #[default]
    Auto,
    /// Bars, terminal or not.
    Always,
    /// No bars.
    Never,
}

/// Reads an extension of captions: `txt` or `.txt`.
pub(crate) fn extension(text: &str) -> Result<String, String> {
    let bare = text.trim().trim_start_matches('.');
    let is_extension = !bare.is_empty() && !bare.contains(['/', '\\']) && !bare.contains(char::is_control);
    if is_extension { Ok(format!(".{bare}")) } else { Err("write an extension, such as `txt`".to_owned()) }
}

/// A year: a longer wait is the same as none, and clocks overflow somewhere above.
const LONGEST: Duration = Duration::from_secs(8760 * 3600);

/// Reads `30s`, `5m`, `1h30m` or a bare number of seconds; more than nothing, at most a year.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write it like `30s`, `5m` or `1h30m`";
    let text = text.trim();
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let with_unit = if bare { format!("{text}s") } else { text.to_owned() };
    let signed: SignedDuration = with_unit.parse().map_err(|_| FORM.to_owned())?;
    let duration = Duration::try_from(signed).map_err(|_| FORM.to_owned())?;
    match duration {
        Duration::ZERO => Err("it has to be longer than 0".to_owned()),
        _ if duration > LONGEST => Err("it has to be at most 8760h, a year".to_owned()),
        _ => Ok(duration),
    }
}

/// A lease: long enough for a swap to be answered, short enough that a killed worker is followed the same day.
pub(crate) fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    let bounds = Duration::from_secs(2)..=Duration::from_secs(3600);
    if bounds.contains(&lease) { Ok(lease) } else { Err("it has to be between 2s and 1h".to_owned()) }
}

/// The length of a part: what stores take.
pub(crate) fn part_size(text: &str) -> Result<ByteCount, String> {
    let size: ByteCount = text.parse().map_err(|error: ByteCountError| error.to_string())?;
    let bounds = 5 << 20..=5 << 30;
    if bounds.contains(&size.0) { Ok(size) } else { Err("it has to be between 5M and 5G".to_owned()) }
}

/// Reads a rate in bytes a second, above 0.
pub(crate) fn rate(text: &str) -> Result<ByteCount, String> {
    // curl and others write `10M/s` when they show a rate; what is shown may be typed.
    let bare = text.trim().trim_end_matches("/s");
    match bare.parse::<ByteCount>() {
        Ok(ByteCount(0)) => Err("it has to be more than 0; leave it away for no limit".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a number of requests a second, above 0.
pub(crate) fn api_rate(text: &str) -> Result<f64, String> {
    let bare = text.trim().trim_end_matches("/s").parse::<f64>().ok();
    let rate = bare.filter(|rate| (0.01..=100_000.0).contains(rate));
    rate.ok_or_else(|| "it has to be a number of requests a second, such as `2/s` or `0.5`".to_owned())
}

/// Reads a number of connections: 1 to 256, beyond which hosts begin to refuse and nothing gets faster.
pub(crate) fn connections(text: &str) -> Result<NonZeroU16, String> {
    let number = text.trim().parse::<NonZeroU16>().ok().filter(|number| number.get() <= 256);
    number.ok_or_else(|| "it has to be a number from 1 to 256".to_owned())
}

/// Reads a whole number.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| "write a whole number, such as `3`".to_owned())
}

/// Reads a whole number above 0.
pub(crate) fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    text.trim().parse().map_err(|_| "write a whole number above 0, such as `3`".to_owned())
}

/// Reads a distance in training steps.
pub(crate) fn steps_apart(text: &str) -> Result<NonZeroU64, String> {
    text.trim().parse().map_err(|_| "write a number of steps above 0, such as `500`".to_owned())
}

/// Reads a number of GPUs that can be rented together.
pub(crate) fn gpu_count() -> impl TypedValueParser<Value = GpuCount> {
    PossibleValuesParser::new(["1", "8"]).try_map(|text| text.parse())
}

/// Reads an address to listen on.
pub(crate) fn address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.trim().parse().map_err(|_| "write an address with a port, such as `127.0.0.1:8080`".to_owned())
}

/// Reads yes or no, in the words that people put into variables.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Splits a comma-separated list; a comma within braces or brackets belongs to its glob: `*.{png,jpg}`.
pub(crate) fn list(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [
            ("30s", 30.0),
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("1h 30m", 5400.0),
            ("90", 90.0),
            ("0.5", 0.5),
            ("2 min", 120.0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for bad in ["", "soon", "-5s", "0", "0s", "9000h", "5 parsecs", ".", "1..2", "99999999999999999999"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_and_connections_have_bounds() {
        assert_eq!(rate("10M"), Ok(ByteCount(10 << 20)));
        assert_eq!(rate("1.5 M/s"), Ok(ByteCount(3 << 19)));
        assert!(rate("0").is_err());
        assert!(rate("fast").is_err());
        assert_eq!(connections("256").map(NonZeroU16::get), Ok(256));
        for bad in ["0", "257", "-1", "x", "99999"] {
            assert!(connections(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_comma_in_braces_belongs_to_the_glob() {
        assert_eq!(list("a, *.{png,jpg} ,[a,b]*,"), ["a", "*.{png,jpg}", "[a,b]*"]);
        assert_eq!(list("a},b"), ["a}", "b"]);
    }
}
