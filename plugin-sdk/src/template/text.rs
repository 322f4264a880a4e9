//! Texts of many lines, such as the body of a mail, for people or as HTML.

use serde_json::Value;

use super::{Piece, Template, TemplateError, Variables, pieces, wrong};

/// The longest template of a text, in bytes (the limit `text_template_bytes`).
pub const TEXT_TEMPLATE_BYTES: usize = 32 << 10;

/// What a text is for, which says how values stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text: values as they are.
    Plain,
    /// HTML: in values `&`, `<`, `>`, `"` and `'` are written as references, so that none of them is markup, between tags or in a
    /// quoted attribute.
    Html,
}

impl Template {
    /// Reads the template of a text, which may have many lines. For [`Template::text`] alone.
    ///
    /// # Errors
    /// When it is empty or longer than [`TEXT_TEMPLATE_BYTES`], a `${` is not closed or does not hold a path, or there is a
    /// control character that is neither a line's end nor a tabulator.
    pub fn parse_text(template: &str) -> Result<Self, TemplateError> {
        if template.trim().is_empty() {
            return Err(wrong(template, 0, "it is empty"));
        }
        if template.len() > TEXT_TEMPLATE_BYTES {
            return Err(wrong(template, 0, "it is longer than 32 KiB (the limit `text_template_bytes`)"));
        }
        let control = |c: char| c.is_control() && !matches!(c, '\r' | '\n' | '\t');
        if let Some((offset, _)) = template.char_indices().find(|(_, c)| control(*c)) {
            return Err(wrong(template, offset, "it has a control character"));
        }
        Ok(Self { levels: vec![pieces(template, 0, template)?] })
    }

    /// The text, whole: nothing is cut, and a missing value becomes nothing.
    pub fn text(&self, payload: &Value, variables: &Variables, form: Form) -> String {
        let mut text = String::new();
        for piece in self.levels.iter().flatten() {
            match piece {
                Piece::Text(own) => text.push_str(own),
                piece => put(&mut text, &piece.value(payload, variables).unwrap_or_default(), form),
            }
        }
        text
    }
}

fn put(text: &mut String, value: &str, form: Form) {
    if form == Form::Plain {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_keeps_its_lines_and_its_length() {
        let payload = json!({"name": "<b>\"Ann & 'Bo'\"</b>", "long": "é".repeat(2_000), "n": 7});
        let variables = Variables::of(&payload, 0);
        let fill =
            |template: &str, form| Template::parse_text(template).unwrap().text(&payload, &variables, form);
        assert_eq!(fill("a/\n\n\t${n}: ${missing}.\r\n", Form::Plain), "a/\n\n\t7: .\r\n");
        assert_eq!(fill("${name}", Form::Plain), "<b>\"Ann & 'Bo'\"</b>");
        let html = "<p title=\"&lt;b&gt;&quot;Ann &amp; &#39;Bo&#39;&quot;&lt;/b&gt;\">";
        assert_eq!(fill("<p title=\"${name}\">", Form::Html), html);
        assert_eq!(fill("${long}", Form::Html).chars().count(), 2_000);
    }

    #[test]
    fn what_is_no_template_of_a_text_says_where() {
        for (text, at) in [("", 1), (" \n", 1), ("a\n\0", 3), ("é\n${x", 3), ("${x y}", 1)] {
            assert_eq!(Template::parse_text(text).unwrap_err().at, at, "{text:?}");
        }
        assert!(Template::parse_text(&"x".repeat(TEXT_TEMPLATE_BYTES)).is_ok());
        let why = Template::parse_text(&"x".repeat(TEXT_TEMPLATE_BYTES + 1)).unwrap_err().to_string();
        assert!(why.contains("`text_template_bytes`"), "{why}");
    }
}
