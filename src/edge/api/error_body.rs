//! What the API says in words: error bodies and error fields of every shape, as one line fit for people.

use crate::edge::api::lenient_json::{Loose, Members};
use crate::error::ApiError;
use crate::model::job::{JobId, JobStatus};
use crate::model::names::sanitize::{for_terminal, secrets_removed};

/// A message is shown in one line; five hundred characters are six lines of a terminal, which is plenty.
const MESSAGE_CHARS: usize = 500;

/// How much of a text that is no message is quoted: enough to recognise a proxy or a login page.
const EXCERPT_CHARS: usize = 120;

/// No message needs more bytes than this before it is cut to [`MESSAGE_CHARS`].
const MESSAGE_BYTES: usize = 64 << 10;

/// The names that messages go by, best first. `msg` is what items of a `detail` list have.
const MESSAGE_NAMES: [&str; 6] = ["error_message", "message", "error", "detail", "reason", "msg"];

/// Returns what an error field says; `None` where it says that there is no error.
pub(crate) fn message(value: Loose<'_>) -> Option<String> {
    // Nobody wraps a message deeper than in an `error` in a `detail` in a body.
    message_within(value, 4).map(|text| line(&text))
}

/// Returns text from the API as one bounded line without secrets.
pub(crate) fn line(text: &str) -> String {
    for_terminal(secrets_removed(text).trim(), MESSAGE_CHARS)
}

/// Returns the beginning of a body that is not what it should be.
pub(crate) fn excerpt(body: &[u8]) -> String {
    // A character may become up to ten visible ones, but never less than one.
    let head = &body[..body.len().min(EXCERPT_CHARS * 4)];
    for_terminal(secrets_removed(&String::from_utf8_lossy(head)).trim(), EXCERPT_CHARS)
}

/// Whether a body is a page for a browser.
pub(crate) fn is_html(body: &[u8]) -> bool {
    let head = body.trim_ascii_start();
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).starts_with(b"<")
}

/// Returns what the body of a refusal says, whatever it is; empty where it says nothing.
#[must_use]
pub fn refusal_message(body: &[u8]) -> String {
    if let Ok(json) = Loose::parse(body) {
        return message(json).unwrap_or_default();
    }
    if is_html(body) { format!("an HTML page: `{}`", excerpt(body)) } else { excerpt(body) }
}

/// Names the fault that an HTTP status stands for.
#[must_use]
pub fn fault_of_status(
    status: u16,
    message: String,
    job: Option<&JobId>,
    retry_after: Option<u64>,
) -> ApiError {
    match (status, job) {
        (401 | 403, _) => ApiError::Unauthorized { status, message },
        (404, Some(job)) => ApiError::UnknownJob { job: job.clone(), message },
        (408 | 429, _) => ApiError::Busy { status, retry_after },
        (500.., _) => ApiError::Server { status, message, retry_after },
        _ => ApiError::Refused { status, message },
    }
}

/// Returns the fault that an error body under HTTP 200 stands for; `None` for an answer.
///
/// It is one when it has neither `id`, `status` nor `artifacts`, but something to say; a code of its own tells it
/// apart even where it has an `id`, or a `status` that is no job's (`"error"`, 404).
pub(crate) fn fault_in_answer(
    answer: &Members<'_>,
    whole: Loose<'_>,
    job: Option<&JobId>,
) -> Option<ApiError> {
    let code = answer.text("error_code", 32).filter(|code| code != "0" && code != "false");
    let has = |name| answer.get(name).is_some();
    let word = answer.get("status").filter(|status| status.is_string()).and_then(|status| status.text(64));
    let has_status = word.is_some_and(|word| code.is_none() || !matches!(word.into(), JobStatus::Other(_)));
    if has("artifacts") || has_status || (has("id") && code.is_none()) {
        return None;
    }
    let says_something = code.is_some() || MESSAGE_NAMES.iter().any(|name| has(name));
    let message = message(whole).filter(|_| says_something)?;
    let code = code.or_else(|| answer.text("code", 32)).or_else(|| answer.text("status", 32));
    // A refusal under HTTP 200 that has no code is what it is: refused, with status 200.
    let status = code.as_deref().and_then(status_of_code).unwrap_or(200);
    Some(fault_of_status(status, message, job, None))
}

/// Returns the HTTP status in an error code: its first three digits, of three, five or six.
fn status_of_code(code: &str) -> Option<u16> {
    let code = code.trim();
    if !matches!(code.len(), 3 | 5 | 6) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    code[..3].parse().ok().filter(|status| (400..600).contains(status))
}

fn message_within(value: Loose<'_>, depth: u8) -> Option<String> {
    if value.is_object() {
        return message_of_object(value, depth);
    }
    if value.is_list() {
        let mut parts = Vec::new();
        value.for_each(|element| {
            // A validation error lists each bad field; five of them make the point.
            if parts.len() < 5 && depth > 0 {
                parts.extend(message_within(element, depth - 1));
            }
        });
        return (!parts.is_empty()).then(|| parts.join("; "));
    }
    let text = value.text(MESSAGE_BYTES)?;
    let is_nothing = |word: &str| text.trim().eq_ignore_ascii_case(word);
    let says_nothing = ["", "null", "none", "false", "0"].into_iter().any(is_nothing);
    (!says_nothing).then(|| text.trim().to_owned())
}

fn message_of_object(value: Loose<'_>, depth: u8) -> Option<String> {
    let members = value.members();
    let named =
        |name: &&str| members.get(name).and_then(|member| message_within(member, depth.checked_sub(1)?));
    let said = MESSAGE_NAMES.iter().find_map(named);
    let code =
        ["error_code", "code"].iter().find_map(|name| members.text(name, 64)).filter(|code| code != "0");
    match (said, code) {
        (Some(said), Some(code)) if !said.contains(&code) => Some(format!("{said} ({code})")),
        (Some(said), _) => Some(said),
        (None, Some(code)) => Some(code),
        (None, None) => {
            let has_value =
                members.iter().any(|(_, member)| !matches!(member.raw(), "null" | "false" | "\"\"" | "0"));
            let raw = value.raw();
            has_value.then(|| raw[..raw.floor_char_boundary(MESSAGE_CHARS * 4)].to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_every_shape() {
        for (json, said) in [
            (r#""out of memory""#, Some("out of memory")),
            (
                r#"{"message":"server was reclaimed.","code":"TRAINING_ERROR"}"#,
                Some("server was reclaimed. (TRAINING_ERROR)"),
            ),
            (r#"{"error":{"error":{"message":"deep"}}}"#, Some("deep")),
            (
                r#"{"detail":[{"loc":["body","gpu_type"],"msg":"field required"},{"msg":"and so on"}]}"#,
                Some("field required; and so on"),
            ),
            (r#"["a","b"]"#, Some("a; b")),
            (r#"{"code":"E1"}"#, Some("E1")),
            (r#"{"exit":137}"#, Some(r#"{"exit":137}"#)),
            (r#"{"message":"b","error_message":"a","error":"c"}"#, Some("a")),
            (r#"{"reason":"r","detail":"d"}"#, Some("d")),
            (r#"{"message":null,"code":null}"#, None),
            (r#""  None ""#, None),
            ("{}", None),
            ("[]", None),
            ("null", None),
            ("false", None),
            ("0", None),
            ("\"\"", None),
            ("137", Some("137")),
        ] {
            assert_eq!(message(Loose::parse(json.as_bytes()).unwrap()).as_deref(), said, "{json}");
        }
    }

    #[test]
    fn one_bounded_line_without_secrets() {
        let long = format!(r#""a\n\u001b[2Jb https://h/x?sig=secret {}""#, "x".repeat(9000));
        let said = message(Loose::parse(long.as_bytes()).unwrap()).unwrap();
        assert!(said.starts_with("a \\u{1b}[2Jb https://h/x?… xxx"), "{said}");
        assert_eq!(said.chars().count(), MESSAGE_CHARS);
        assert!(!said.contains("secret"));
    }

    #[test]
    fn nests_of_errors_end() {
        let nest = format!("{}1{}", r#"{"error":"#.repeat(50_000), "}".repeat(50_000));
        assert!(message(Loose::parse(nest.as_bytes()).unwrap()).is_some());
    }

    #[test]
    fn codes_hold_a_status() {
        for (code, status) in [
            ("40401", Some(404)),
            ("401001", Some(401)),
            ("429", Some(429)),
            ("20001", None),
            ("4040", None),
            ("E4040", None),
            ("60001", None),
            ("é01", None),
        ] {
            assert_eq!(status_of_code(code), status, "{code}");
        }
    }

    #[test]
    fn refusals_in_any_dress() {
        assert_eq!(
            refusal_message(br#"{"error_code":40001,"error_message":"not a UUID"}"#),
            "not a UUID (40001)"
        );
        assert_eq!(refusal_message(b"<html>\n<h1>502</h1>"), "an HTML page: `<html> <h1>502</h1>`");
        assert_eq!(refusal_message(b"slow\x1bdown"), "slow\\u{1b}down");
        assert_eq!(refusal_message(b""), "");
        assert_eq!(refusal_message(b"{}"), "");
    }
}
