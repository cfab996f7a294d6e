//! What the API says in words: error bodies and error fields of every shape, as one line fit for people.

use crate::error::ApiError;
use crate::model::error_code::{ErrorCode, Subject};
use crate::model::job::{JobId, JobStatus};
use crate::model::lenient::{Loose, Members};
use crate::model::markup::{is_markup, text_of};
use crate::model::names::sanitize::{for_terminal, secrets_removed};

/// A message is shown in one line; five hundred characters are six lines of a terminal, which is plenty.
const MESSAGE_CHARS: usize = 500;

/// How much of a text that is no message is quoted: enough to recognise a proxy or a login page.
const EXCERPT_CHARS: usize = 120;

/// No message needs more bytes than this before it is cut to [`MESSAGE_CHARS`].
const MESSAGE_BYTES: usize = 64 << 10;

/// The names that messages go by, best first. `msg` is what items of a `detail` list have.
const MESSAGE_NAMES: [&str; 6] = ["error_message", "message", "error", "detail", "reason", "msg"];

/// The names of members that may hold the whole error.
const WRAPPERS: [&str; 3] = ["error", "detail", "message"];

/// Returns what an error field says; `None` where it says that there is no error.
pub(crate) fn message(value: Loose<'_>) -> Option<String> {
    // No known API wraps a message deeper than in an `error` in a `detail` in a body.
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

/// Returns the text of a body that is a page for a browser (a gateway's, a sign-in page), without markup.
pub(crate) fn page_text(body: &[u8]) -> Option<String> {
    /// Error pages have a few kilobytes; what they say comes early.
    const HEAD: usize = 64 << 10;
    let head = &body[..body.len().min(HEAD)];
    is_markup(head).then(|| {
        let text = secrets_removed(&text_of(&String::from_utf8_lossy(head)));
        for_terminal(&text, EXCERPT_CHARS)
    })
}

/// The words and the code of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// In words, as one bounded line; may be empty.
    pub message: String,
    /// Its own number for it.
    pub code: Option<ErrorCode>,
}

/// Reads the body of a refusal, whatever it is.
#[must_use]
pub fn read_refusal(body: &[u8]) -> Refusal {
    if let Ok(json) = Loose::parse(body) {
        return refusal(json);
    }
    let message = page_text(body).map_or_else(|| excerpt(body), |text| format!("an HTML page: `{text}`"));
    Refusal { message, code: None }
}

fn refusal(whole: Loose<'_>) -> Refusal {
    let code = code_within(whole, 4);
    let message = message(whole).unwrap_or_default();
    let name = code.as_ref().filter(|code| message == code.as_str()).and_then(ErrorCode::name);
    // A bare number means little to a reader where its name is known.
    match name {
        Some(name) => Refusal { message: format!("{name} ({message})"), code },
        None => Refusal { message, code },
    }
}

/// Returns the fault that an HTTP status means.
#[must_use]
pub fn fault_of_status(
    status: u16,
    refusal: Refusal,
    job: Option<&JobId>,
    retry_after: Option<u64>,
) -> ApiError {
    let Refusal { message, code } = refusal;
    let is_of_dataset = code.as_ref().and_then(ErrorCode::subject) == Some(Subject::Dataset);
    match (status, job) {
        (401 | 403, _) => ApiError::Unauthorized { status, message, code },
        (404, Some(job)) if !is_of_dataset => ApiError::UnknownJob { job: job.clone(), message, code },
        (408 | 429, _) => ApiError::Busy { status, message, code, retry_after },
        (500.., _) => ApiError::Server { status, message, code, retry_after },
        _ => ApiError::Refused { status, message, code },
    }
}

/// Returns the code in an error body, or in what it wraps.
fn code_within(value: Loose<'_>, depth: u8) -> Option<ErrorCode> {
    if !value.is_object() {
        return None;
    }
    let members = value.members();
    let own = |name: &str| members.text(name, MESSAGE_BYTES).and_then(|text| ErrorCode::new(&text));
    let wrapped =
        |name: &&str| members.get(name).and_then(|member| code_within(member, depth.checked_sub(1)?));
    own("error_code").or_else(|| WRAPPERS.iter().find_map(wrapped)).or_else(|| own("code"))
}

/// Returns the fault that an error body under HTTP 200 means; `None` for an answer.
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
    message(whole).filter(|_| says_something)?;
    let refusal = refusal(whole);
    let written = || answer.text("status", 32).and_then(|text| ErrorCode::new(&text));
    // A refusal under HTTP 200 that has no code is what it is: refused, with status 200.
    let status = refusal.code.clone().or_else(written).and_then(|code| code.status()).unwrap_or(200);
    Some(fault_of_status(status, refusal, job, None))
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

/// Returns the place that an item of a validation list names: `body.gpu_type`.
fn place_of(members: &Members<'_>) -> Option<String> {
    /// A place is a few names deep; more of it would hide the message.
    const DEEPEST: usize = 8;
    let value = members.get("loc")?;
    let mut names = Vec::new();
    if value.is_list() {
        value.for_each(|name| names.extend(name.text(64).filter(|_| names.len() < DEEPEST)));
    } else {
        names.extend(value.text(64));
    }
    Some(names.join(".")).filter(|place| !place.is_empty())
}

fn message_of_object(value: Loose<'_>, depth: u8) -> Option<String> {
    let members = value.members();
    let said = words_of_object(value, &members, depth)?;
    Some(match place_of(&members) {
        Some(place) => format!("{place}: {said}"),
        None => said,
    })
}

fn words_of_object(value: Loose<'_>, members: &Members<'_>, depth: u8) -> Option<String> {
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
                Some("body.gpu_type: field required; and so on"),
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
    fn refusals_in_any_dress() {
        for (body, message, code) in [
            (
                &br#"{"error_code":40001,"error_message":"not a UUID"}"#[..],
                "not a UUID (40001)",
                Some("40001"),
            ),
            (br#"{"error_code":40401}"#, "DATASET_NOT_FOUND (40401)", Some("40401")),
            (br#"{"error":{"code":40451,"message":"no"}}"#, "no (40451)", Some("40451")),
            (br#"{"detail":{"error_code":"E7"},"code":1}"#, "E7 (1)", Some("E7")),
            (br#"{"error_code":0,"message":"fine"}"#, "fine", None),
            (b"<html>\n<h1>502</h1>", "an HTML page: `502`", None),
            (b"slow\x1bdown", "slow\\u{1b}down", None),
            (b"", "", None),
            (b"{}", "", None),
        ] {
            let refusal = read_refusal(body);
            assert_eq!(refusal.message, message);
            assert_eq!(refusal.code.as_ref().map(ErrorCode::as_str), code);
        }
    }

    #[test]
    fn no_markup_reaches_a_terminal() {
        let page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>";
        assert_eq!(read_refusal(page).message, "an HTML page: `502 Bad Gateway`");
        let signed = b"<p>https://h/x?sig=secret \x1b[2J</p>";
        assert_eq!(read_refusal(signed).message, "an HTML page: `https://h/x?… \\u{1b}[2J`");
    }

    #[test]
    fn a_dataset_that_is_gone_is_no_unknown_job() {
        let job: JobId = "job-1".parse().unwrap();
        let fault = |body: &[u8]| fault_of_status(404, read_refusal(body), Some(&job), None);
        let of_dataset = fault(br#"{"error_code":40401,"message":"no such dataset"}"#);
        assert!(matches!(of_dataset, ApiError::Refused { status: 404, .. }), "{of_dataset:?}");
        for body in [&br#"{"error_code":40451,"message":"no"}"#[..], br#"{"detail":"Not Found"}"#, b""] {
            assert!(matches!(fault(body), ApiError::UnknownJob { .. }));
        }
    }
}
