//! The text of an HTML or XML error page: gateways, sign-in pages and object stores answer with markup, which is unreadable on
//! a terminal.

use std::borrow::Cow;

/// Elements that name what a page is about, best first. `Code` and `Message` are what object stores write.
const TELLING: [&[&str]; 3] = [&["Code", "Message"], &["title"], &["h1"]];

/// Elements whose content is no text for a reader.
const SILENT: [&str; 3] = ["script", "style", "head"];

/// Whether a body is markup.
pub(crate) fn is_markup(body: &[u8]) -> bool {
    let head = body.trim_ascii_start();
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).starts_with(b"<")
}

/// Returns the text of a page in one line: its title or heading, an object store's code and message, else all of it.
pub(crate) fn text_of(page: &str) -> String {
    let said = |names: &&[&str]| {
        let parts: Vec<String> = names.iter().filter_map(|name| element(page, name)).map(plain).collect();
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    };
    TELLING.iter().find_map(said).unwrap_or_else(|| plain(page))
}

/// Returns what is inside the first element of this name; to the end of the page where it is not closed.
fn element<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = page;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        if !begins_with_name(rest, name) {
            continue;
        }
        let inside = &rest[rest.find('>')? + 1..];
        return Some(&inside[..end_of(inside, name)]);
    }
}

/// Returns where the element of this name that `inside` is the content of ends.
fn end_of(inside: &str, name: &str) -> usize {
    let closes = |(at, _): &(usize, &str)| begins_with_name(&inside[at + 2..], name);
    inside.match_indices("</").find(closes).map_or(inside.len(), |(at, _)| at)
}

/// Whether a tag that begins here (after `<` or `</`) has this name.
fn begins_with_name(tag: &str, name: &str) -> bool {
    let ends = |c: &u8| c.is_ascii_whitespace() || matches!(c, b'>' | b'/');
    tag.as_bytes().get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
        && tag.as_bytes().get(name.len()).is_none_or(ends)
}

/// Returns text without its tags, comments and references, words one space apart.
fn plain(markup: &str) -> String {
    let mut words = String::with_capacity(markup.len());
    let mut rest = markup;
    while let Some(at) = rest.find('<') {
        words.push_str(&rest[..at]);
        let tag = &rest[at + 1..];
        // A tag may divide words (`</h1><p>`) or be inside one (`<b>`); the first is the rule in error pages.
        words.push(' ');
        rest = if let Some(comment) = tag.strip_prefix("!--") {
            comment.split_once("-->").map_or("", |(_, after)| after)
        } else if let Some(cdata) = tag.strip_prefix("![CDATA[") {
            let (inside, after) = cdata.split_once("]]>").unwrap_or((cdata, ""));
            words.push_str(inside);
            after
        } else if let Some(name) = SILENT.iter().find(|name| begins_with_name(tag, name)) {
            tag[end_of(tag, name)..].split_once('>').map_or("", |(_, after)| after)
        } else {
            tag.split_once('>').map_or("", |(_, after)| after)
        };
    }
    words.push_str(rest);
    let words = dereferenced(&words);
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts characters in place of the references to them that error pages use.
fn dereferenced(text: &str) -> Cow<'_, str> {
    const NAMED: [(&str, &str); 6] =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(NAMED.iter().fold(text.to_owned(), |text, (name, c)| text.replace(name, c)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_are_reduced_to_their_text() {
        for (page, said) in [
            (
                "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
                "502 Bad Gateway",
            ),
            ("<html><h1 class=\"x\">503\nService&nbsp;Unavailable</h1>", "503 Service Unavailable"),
            ("<h1>502", "502"),
            ("<p>Sign in &amp; go <b>on</b></p><script>var a = '<p>no</p>';</script>", "Sign in & go on"),
            ("<!DOCTYPE html>\n<!-- a --><p>Sign in", "Sign in"),
            ("<head><meta charset=utf-8></head><body>gone</body>", "gone"),
            (
                "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message><RequestId>7</RequestId></Error>",
                "AccessDenied: Request has expired",
            ),
            ("<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
            ("<title></title><p>x", "x"),
            ("<titles>a</titles>", "a"),
            ("<![CDATA[a <b> c]]>", "a <b> c"),
            ("<", ""),
            ("<!--", ""),
            ("é<é>é", "é é"),
        ] {
            assert_eq!(text_of(page), said, "{page}");
        }
    }

    proptest! {
        #[test]
        fn any_page_has_a_text(page in "(<|>|/|!--|-->|title|h1|script|Code|&lt;|é|[ -~]|\\PC){0,40}") {
            let said = text_of(&page);
            prop_assert!(!said.contains(['\n', '\t']));
        }
    }
}
