//! A transcript as one HTML document that needs nothing else: no script, no picture, no font from elsewhere. It must not
//! know how it is sent.

use crate::transcript::{Body, Side, Transcript};

/// Readable on a phone and on paper, in the reader's own colours where they ask for dark ones.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}\
h1{font-size:1.5rem}h2{font-size:1.1rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{font-weight:600}dd{margin:0}\
ol{list-style:none;padding:0}li{border-left:.25rem solid #767676;padding:0 0 0 .75rem;margin:1.25rem 0}\
li.customer{border-color:#1d63b8}\
li p{margin:.25rem 0;white-space:pre-wrap}.head{display:flex;flex-wrap:wrap;gap:0 1rem;justify-content:space-between}\
.remark{font-style:italic}footer{border-top:1px solid;margin-top:2rem;font-size:.875rem}\
@media print{body{margin:0;max-width:none}li{break-inside:avoid-page}}";

/// The document.
pub(crate) fn write(transcript: &Transcript) -> String {
    let title = Escaped(&transcript.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<dl>\n"
    );
    for (label, value) in &transcript.facts {
        out.push_str(&format!("<dt>{label}</dt><dd><bdi>{}</bdi></dd>\n", Escaped(value)));
    }
    out.push_str("</dl>\n<h2>Messages</h2>\n<ol>\n");
    for entry in &transcript.entries {
        let class = if entry.side == Side::Customer { " class=\"customer\"" } else { "" };
        out.push_str(&format!(
            "<li{class}>\n<div class=\"head\"><strong><bdi>{}</bdi></strong>",
            Escaped(&entry.who)
        ));
        if !entry.when.is_empty() {
            out.push_str(&format!("<span>{}</span>", Escaped(&entry.when)));
        }
        out.push_str("</div>\n");
        match &entry.body {
            Body::Text(text) => {
                let language = entry
                    .language
                    .as_ref()
                    .map_or_else(String::new, |tag| format!(" lang=\"{}\"", Escaped(tag)));
                out.push_str(&format!("<p dir=\"auto\"{language}>{}</p>\n", Escaped(text)));
            }
            Body::Remark(text) => out.push_str(&format!("<p class=\"remark\">{}</p>\n", Escaped(text))),
        }
        out.push_str("</li>\n");
    }
    out.push_str(&format!(
        "</ol>\n</main>\n<footer><p>{}</p></footer>\n</body>\n</html>\n",
        Escaped(&transcript.origin)
    ));
    out
}

/// A text that is safe between tags and in quoted attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}
