//! Why a file is not of the format that its name suggests.

use serde::Serialize;

/// Why a file is not of the format that its name suggests. Bounded, and without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BadFormat {
    /// It is what a web server shows a browser in place of a file.
    #[error("it is an HTML page")]
    HtmlPage,
    /// It is what an object store answers in place of a file.
    #[error("it is an XML error document")]
    ErrorDocument,
    /// It begins as no file of the format does.
    #[error("it begins with `{begins}`, not with {expected}")]
    OtherBeginning {
        /// Its first bytes; what is not printable is escaped.
        begins: String,
        /// How files of the format begin.
        expected: &'static str,
    },
    /// It breaks a rule of its format: which one, in the words of that format's check.
    #[error("{0}")]
    Rule(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_structured() {
        let other = BadFormat::OtherBeginning { begins: "{}".to_owned(), expected: "a PNG signature" };
        assert_eq!(
            serde_json::to_string(&other).unwrap(),
            r#"{"other_beginning":{"begins":"{}","expected":"a PNG signature"}}"#
        );
        assert_eq!(other.to_string(), "it begins with `{}`, not with a PNG signature");
        assert_eq!(serde_json::to_string(&BadFormat::HtmlPage).unwrap(), r#""html_page""#);
    }
}
