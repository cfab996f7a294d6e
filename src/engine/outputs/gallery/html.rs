//! A writer of HTML in which text from outside cannot become markup: markup is `&'static str`, and nothing that came
//! over the network or from a disk is that.

use std::fmt::Write as _;

/// HTML as it is being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup of this program.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, escaped for content and for quoted attributes alike.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                // HTML has no way to write these, and a browser would show nothing or something else.
                c if c.is_control() => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Adds a number.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        // Writing into a `String` cannot fail.
        let _ = write!(self.0, "{number}");
        self
    }

    /// Adds an attribute: ` name="value"`.
    pub(super) fn attribute(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// Adds an element with nothing but text in it.
    pub(super) fn element(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.raw("<").raw(name).raw(">").text(text).raw("</").raw(name).raw(">")
    }

    /// Returns what was written.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::default();
        html.raw("<p")
            .attribute("title", "a\" onload='x'&")
            .raw(">")
            .text("</p><script>\0\u{1b}é犬")
            .raw("</p>");
        assert_eq!(
            html.into_string(),
            "<p title=\"a&quot; onload=&#39;x&#39;&amp;\">&lt;/p&gt;&lt;script&gt;\u{fffd}\u{fffd}é犬</p>"
        );
    }
}
