//! What the API is asked to do: the bodies of its requests, byte for byte as documented.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A training job to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitRequest {
    /// The whole AI Toolkit configuration, unchanged as the user wrote it.
    pub config: String,
    /// Which machine.
    pub gpu_type: GpuType,
    /// How many GPUs; the API's default is one.
    pub gpu_count: Option<GpuCount>,
    /// Which GPU; the documentation shows `#1` and says no more.
    pub gpu_id: Option<String>,
}

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum GpuType {
    /// `ADA_80_PLUS`, called H100 in the web page.
    #[serde(rename = "ADA_80_PLUS")]
    Ada80Plus,
    /// `HOPPER_141`, called H200 in the web page.
    #[serde(rename = "HOPPER_141")]
    Hopper141,
}

/// How many GPUs: one or eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuCount {
    /// A single GPU.
    One,
    /// All of a machine; documented for `ADA_80_PLUS` alone.
    Eight,
}

/// The text is none of the documented values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not one of {0}")]
pub struct GpuError(&'static str);

impl SubmitRequest {
    /// Returns the JSON body.
    #[must_use]
    pub fn body(&self) -> String {
        body(&self.config, Some(self))
    }
}

/// Returns the JSON body of `POST …/edit`.
#[must_use]
pub(crate) fn edit_body(config: &str) -> String {
    body(config, None)
}

fn body(config: &str, submit: Option<&SubmitRequest>) -> String {
    let body = Body {
        config_file_format: "yaml",
        config_file: config,
        gpu_type: submit.map(|request| request.gpu_type),
        gpu_count: submit.and_then(|request| request.gpu_count),
        gpu_id: submit.and_then(|request| request.gpu_id.as_deref()),
    };
    // Strings and numbers alone: there is nothing in it that JSON cannot say.
    serde_json::to_string(&body).unwrap_or_default()
}

#[derive(Serialize)]
struct Body<'a> {
    config_file_format: &'a str,
    config_file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_type: Option<GpuType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_count: Option<GpuCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_id: Option<&'a str>,
}

impl GpuType {
    /// Returns the API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ada80Plus => "ADA_80_PLUS",
            Self::Hopper141 => "HOPPER_141",
        }
    }
}

impl GpuCount {
    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Eight => 8,
        }
    }
}

impl fmt::Display for GpuType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for GpuType {
    type Err = GpuError;

    fn from_str(text: &str) -> Result<Self, GpuError> {
        let known = [Self::Ada80Plus, Self::Hopper141];
        let found = known.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        found.ok_or(GpuError("`ADA_80_PLUS` and `HOPPER_141`"))
    }
}

impl FromStr for GpuCount {
    type Err = GpuError;

    fn from_str(text: &str) -> Result<Self, GpuError> {
        match text {
            "1" => Ok(Self::One),
            "8" => Ok(Self::Eight),
            _ => Err(GpuError("`1` and `8`")),
        }
    }
}

impl Serialize for GpuCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_as_documented() {
        let mut request = SubmitRequest {
            config: "job: extension\nname: \"é\"\n".to_owned(),
            gpu_type: "ada_80_plus".parse().unwrap(),
            gpu_count: None,
            gpu_id: None,
        };
        assert_eq!(
            request.body(),
            r#"{"config_file_format":"yaml","config_file":"job: extension\nname: \"é\"\n","gpu_type":"ADA_80_PLUS"}"#
        );
        request.config = "a".to_owned();
        request.gpu_count = Some("8".parse().unwrap());
        request.gpu_id = Some("#1".to_owned());
        assert_eq!(
            request.body(),
            r##"{"config_file_format":"yaml","config_file":"a","gpu_type":"ADA_80_PLUS","gpu_count":8,"gpu_id":"#1"}"##
        );
        assert_eq!(edit_body("a"), r#"{"config_file_format":"yaml","config_file":"a"}"#);
        assert!("H100".parse::<GpuType>().is_err());
        assert!("2".parse::<GpuCount>().is_err());
    }
}
