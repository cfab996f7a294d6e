//! The Dataset API's answers: bytes in, values out. As lenient as those of jobs ([`crate::edge::api::responses`]), since
//! most of what is known about them is read from the vendor's clients.

use crate::edge::api::error_body::{excerpt, fault_in_answer, line, message};
use crate::edge::api::responses::{lacks, not_json, odd};
use crate::error::{ApiError, OddAnswer};
use crate::model::dataset::{
    Dataset, DatasetId, DatasetStatus, RemoteFile, UploadAnswer, UploadLink, UploadMethod,
};
use crate::model::lenient::{Loose, Members};
use crate::model::names::sanitize::for_terminal;
use crate::model::source_url::SourceUrl;

/// More datasets than any account has; each costs some hundred bytes.
const DATASETS_BOUND: usize = 100_000;

/// The largest public image datasets of one subject have some ten thousand files.
const FILES_BOUND: usize = 1_000_000;

/// Common disks take names of 255 bytes.
const NAME_BYTES: usize = 1024;
const WORD_BYTES: usize = 64;

/// A signed upload has three or four headers.
const HEADERS_BOUND: usize = 64;
const HEADER_BYTES: usize = 8 << 10;

/// Reads the answer of `GET …/datasets`: an object with `datasets`, or the bare list.
///
/// # Errors
/// When it is an error body or has no list.
pub fn read_datasets(body: &[u8]) -> Result<Vec<Dataset>, ApiError> {
    let whole = parse(body)?;
    let list = if whole.is_list() {
        whole
    } else {
        let answer = whole.members();
        match ["datasets", "items", "data"]
            .iter()
            .find_map(|name| answer.get(name).filter(|list| list.is_list()))
        {
            Some(list) => list,
            None => {
                return Err(
                    fault_in_answer(&answer, whole, None).unwrap_or_else(|| lacks(&["datasets"], body))
                );
            }
        }
    };
    let mut found = Vec::new();
    list.for_each(|item| {
        if found.len() < DATASETS_BOUND {
            found.extend(dataset(&item.members()));
        }
    });
    Ok(found)
}

/// Reads the answer of `POST …/datasets` and of `GET …/status`.
///
/// # Errors
/// When it is an error body, has no usable `id`, or has another one than `asked`.
pub fn read_dataset(body: &[u8], asked: Option<&DatasetId>) -> Result<Dataset, ApiError> {
    let whole = parse(body)?;
    let mut answer = whole.members();
    // Some APIs wrap the object.
    if answer.get("id").is_none()
        && let Some(inner) = answer.get("dataset").filter(|inner| inner.is_object())
    {
        answer = inner.members();
    }
    let has_code = answer.text("error_code", 32).is_some_and(|code| code != "0");
    if let Some(fault) =
        fault_in_answer(&answer, whole, None).filter(|_| has_code || answer.get("id").is_none())
    {
        return Err(fault);
    }
    let found = dataset(&answer);
    match (found, asked) {
        (Some(found), Some(asked)) if !found.id.as_str().eq_ignore_ascii_case(asked.as_str()) => {
            let answered = for_terminal(found.id.as_str(), 128);
            Err(odd(OddAnswer::OtherDataset { asked: asked.to_string(), answered }))
        }
        (Some(found), _) => Ok(found),
        // The id was in the address: an answer that has a status is one.
        (None, Some(asked)) if answer.get("id").is_none() && answer.get("status").is_some() => {
            Ok(described(asked.clone(), &answer))
        }
        (None, _) => Err(odd(OddAnswer::NoDatasetId { excerpt: excerpt(body) })),
    }
}

/// Reads the answer of `POST …/upload`. An empty one is enough, as the HTTP status reports the rest.
///
/// # Errors
/// When it is an error body, or a page instead of an answer.
pub fn read_upload(body: &[u8]) -> Result<UploadAnswer, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(UploadAnswer::default());
    }
    let whole = parse(body)?;
    let answer = whole.members();
    let stored_as = ["filename", "file_name", "name"].iter().find_map(|name| answer.text(name, NAME_BYTES));
    let has_code = answer.text("error_code", 32).is_some_and(|code| code != "0");
    // A `message` beside a file name is no error: it may well be "uploaded".
    if stored_as.is_none() || has_code {
        let is_error = has_code || answer.get("error").and_then(message).is_some();
        if let Some(fault) = fault_in_answer(&answer, whole, None).filter(|_| is_error) {
            return Err(fault);
        }
    }
    Ok(UploadAnswer { stored_as })
}

/// Reads the answer of `POST …/get-upload-endpoint` for one file.
///
/// # Errors
/// When it is an error body, or has no usable link for the file.
pub fn read_upload_link(body: &[u8], name: &str) -> Result<UploadLink, ApiError> {
    let whole = parse(body)?;
    let answer = whole.members();
    let Some(uploads) = answer.get("uploads") else {
        return Err(fault_in_answer(&answer, whole, None)
            .unwrap_or_else(|| odd(OddAnswer::Lacks { fields: &["uploads"], excerpt: None })));
    };
    let mut found = uploads.members().get(name);
    let mut only = None;
    let mut count = 0;
    if uploads.is_list() {
        uploads.for_each(|item| {
            count += 1;
            only = Some(item);
            let is_it = |key| item.members().text(key, NAME_BYTES).is_some_and(|text| text == name);
            if found.is_none() && (is_it("filename") || is_it("name")) {
                found = Some(item);
            }
        });
    } else {
        for (_, item) in uploads.members().iter() {
            count += 1;
            only = Some(item);
        }
    }
    // One file was asked for: a single link is its own, also where the API writes the name in another way.
    let link = found.or_else(|| only.filter(|_| count == 1)).ok_or_else(|| odd(OddAnswer::NoLink))?;
    upload_link(&link.members())
}

/// Never quotes the answer: all of it may be a secret.
fn upload_link(link: &Members<'_>) -> Result<UploadLink, ApiError> {
    let url = ["upload_url", "url"].iter().find_map(|name| link.text(name, SourceUrl::MAX_BYTES + 1));
    let url = url.ok_or_else(|| odd(OddAnswer::NoUploadUrl))?;
    let url = SourceUrl::parse(&url).map_err(|fault| odd(OddAnswer::BadUploadUrl(fault)))?;
    let method = match link.text("method", WORD_BYTES) {
        None => UploadMethod::Put,
        Some(word) if word.trim().eq_ignore_ascii_case("PUT") => UploadMethod::Put,
        Some(word) if word.trim().eq_ignore_ascii_case("POST") => UploadMethod::Post,
        Some(word) => return Err(odd(OddAnswer::UnknownMethod(for_terminal(&word, 20)))),
    };
    let mut headers = Vec::new();
    if let Some(given) = link.get("headers") {
        for (name, value) in given.members().iter().take(HEADERS_BOUND) {
            headers.extend(value.text(HEADER_BYTES).map(|value| (name.to_owned(), value)));
        }
    }
    Ok(UploadLink { url, method, headers })
}

/// Reads the answer of `DELETE …`: the HTTP status reports all but an error body under 200.
///
/// # Errors
/// When it is an error body.
pub fn read_deletion(body: &[u8]) -> Result<(), ApiError> {
    let Ok(whole) = Loose::parse(body) else { return Ok(()) };
    let answer = whole.members();
    let is_error = answer.text("error_code", 32).is_some_and(|code| code != "0")
        || answer.get("error").and_then(message).is_some();
    fault_in_answer(&answer, whole, None).filter(|_| is_error).map_or(Ok(()), Err)
}

fn dataset(answer: &Members<'_>) -> Option<Dataset> {
    let id = ["id", "dataset_id"].iter().find_map(|name| answer.text(name, 129))?.parse().ok()?;
    Some(described(id, answer))
}

fn described(id: DatasetId, answer: &Members<'_>) -> Dataset {
    let status = answer.text("status", WORD_BYTES).map(|word| for_terminal(&word, WORD_BYTES));
    let stamp = |name| answer.text(name, WORD_BYTES).map(|text| line(&text));
    Dataset {
        id,
        name: answer.text("name", NAME_BYTES),
        status: status.map_or_else(|| DatasetStatus::Other("UNKNOWN".into()), DatasetStatus::from),
        error: ["error", "error_message", "errors"]
            .iter()
            .find_map(|name| answer.get(name).and_then(message)),
        files: answer.get("files").filter(|files| files.is_list() || files.is_object()).map(files),
        created_at: stamp("created_at"),
        updated_at: stamp("updated_at"),
    }
}

fn files(list: Loose<'_>) -> Vec<RemoteFile> {
    let mut found = Vec::new();
    list.for_each(|item| {
        if found.len() >= FILES_BOUND {
            return;
        }
        let members = item.members();
        let name = if item.is_string() {
            item.text(NAME_BYTES)
        } else {
            ["filename", "file_name", "name", "path"].iter().find_map(|name| members.text(name, NAME_BYTES))
        };
        let size = ["size_bytes", "size", "bytes"].iter().find_map(|name| members.get(name)?.whole());
        found.extend(name.map(|name| RemoteFile { name, size }));
    });
    found
}

fn parse(body: &[u8]) -> Result<Loose<'_>, ApiError> {
    Loose::parse(body).map_err(|fault| not_json(body, &fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DatasetId {
        text.parse().unwrap()
    }

    #[test]
    fn lists_in_both_documented_forms() {
        let item = r#"{"id":"a-1","name":"dog","status":"READY","extra":[1]}"#;
        for json in [
            format!(r#"{{"datasets":[{item}]}}"#),
            format!("[{item}]"),
            format!(r#"{{"datasets":[null,{item},7]}}"#),
        ] {
            let read = read_datasets(json.as_bytes()).unwrap();
            assert_eq!(read.len(), 1, "{json}");
            assert_eq!((read[0].name.as_deref(), &read[0].status), (Some("dog"), &DatasetStatus::Ready));
            assert_eq!(read[0].files, None);
        }
        assert_eq!(read_datasets(br#"{"datasets":[]}"#).unwrap(), []);
    }

    #[test]
    fn what_is_no_list_is_no_empty_list() {
        for json in ["{}", "7", r#"{"datasets":null}"#, "<html>", "", r#"{"datasets":{}}"#] {
            let fault = read_datasets(json.as_bytes()).unwrap_err();
            assert!(matches!(fault, ApiError::Unintelligible { .. }), "{json}: {fault:?}");
        }
        let fault = read_datasets(br#"{"error_code":40151,"message":"token expired"}"#).unwrap_err();
        assert!(matches!(fault, ApiError::Unauthorized { status: 401, .. }), "{fault:?}");
    }

    #[test]
    fn an_inventory_in_every_dress() {
        let json = r#"{"id":"A-1","name":"dog","status":"FAILED","error":{"message":"2 bad images","code":"X"},
            "files":[{"filename":"1.jpg","size_bytes":"17"},{"name":"2.jpg","size":3.0},"3.txt",{"size":1},null],
            "created_at":"2026","updated_at":null}"#;
        let read = read_dataset(json.as_bytes(), Some(&id("a-1"))).unwrap();
        let file = |name: &str, size| RemoteFile { name: name.to_owned(), size };
        assert_eq!(
            read.files.unwrap(),
            [file("1.jpg", Some(17)), file("2.jpg", Some(3)), file("3.txt", None)]
        );
        assert_eq!(read.error.as_deref(), Some("2 bad images (X)"));
        assert_eq!(read.status, DatasetStatus::Failed);
    }

    #[test]
    fn errors_under_200_and_foreign_answers() {
        let conflict = br#"{"error_code":40901,"message":"name taken"}"#;
        assert!(matches!(read_dataset(conflict, None), Err(ApiError::Refused { status: 409, .. })));
        assert!(read_dataset(br#"{"id":"b","status":"READY"}"#, Some(&id("a"))).is_err());
        assert!(read_dataset(br#"{"status":"READY"}"#, Some(&id("a"))).is_ok());
        assert!(read_dataset(br#"{"status":"READY"}"#, None).is_err());
        assert!(read_dataset(br#"{"dataset":{"id":"a","status":"DRAFT"}}"#, None).is_ok());
    }

    #[test]
    fn an_upload_is_believed_unless_it_is_an_error() {
        for (json, stored_as) in [
            ("", None),
            ("{}", None),
            (r#"{"filename":"a b.jpg","message":"ok"}"#, Some("a b.jpg")),
            (r#"{"status":"success"}"#, None),
            (r#"{"message":"uploaded"}"#, None),
        ] {
            assert_eq!(read_upload(json.as_bytes()).unwrap().stored_as.as_deref(), stored_as, "{json}");
        }
        for json in [r#"{"error_code":41301,"message":"too large"}"#, r#"{"error":"no space"}"#] {
            assert!(matches!(read_upload(json.as_bytes()), Err(ApiError::Refused { .. })), "{json}");
        }
        assert!(matches!(read_upload(b"<html>"), Err(ApiError::Unintelligible { .. })));
    }

    #[test]
    fn links_are_read_and_never_quoted() {
        let json = r#"{"uploads":{"a b.mp4":{"upload_url":"https://h/x?sig=s","method":"PUT","headers":{"Content-Type":"video/mp4","x-n":7}}}}"#;
        let link = read_upload_link(json.as_bytes(), "a b.mp4").unwrap();
        assert_eq!(link.url.expose(), "https://h/x?sig=s");
        assert_eq!(link.headers, [("Content-Type".into(), "video/mp4".into()), ("x-n".into(), "7".into())]);
        assert!(
            read_upload_link(json.as_bytes(), "other.mp4").is_ok(),
            "one link is the one that was asked for"
        );
        for json in [
            r#"{"uploads":{}}"#,
            r#"{"secret":"s3cret"}"#,
            r#"{"uploads":{"a":{"upload_url":"s3cret"}}}"#,
            r#"{"uploads":{"a":{"upload_url":"https://h/?s3cret","method":"DELETE"}}}"#,
        ] {
            let fault = read_upload_link(json.as_bytes(), "a").unwrap_err().to_string();
            assert!(!fault.contains("s3cret"), "{fault}");
        }
    }

    #[test]
    fn a_deletion_is_reported_by_its_http_status() {
        for body in ["", "deleted", "{}", r#"{"message":"deleted"}"#, r#"{"id":"a"}"#] {
            assert!(read_deletion(body.as_bytes()).is_ok(), "{body}");
        }
        assert!(read_deletion(br#"{"error_code":40401,"message":"no"}"#).is_err());
    }
}
