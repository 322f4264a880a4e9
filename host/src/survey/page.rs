//! The pages as HTML: forms without a script, for a phone first. Pure.
//!
//! Whatever stands in a page goes through [`escape`]; the style is one constant whose hash the content security policy names.

use std::fmt::Write as _;

use axum::http::StatusCode;

use super::record::RATING_MAX;
use super::texts::Texts;

/// The only style. Sizes follow the reader's own; text has a contrast of at least 7:1, controls are at least 3rem high.
pub(super) const STYLE: &str = "\
*{box-sizing:border-box}\
html{color-scheme:light;font:100%/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;color:#1a1a1e;background:#f2f3f5;\
-webkit-text-size-adjust:100%;text-size-adjust:100%}\
body{margin:0}\
main{max-width:34rem;margin:0 auto;padding:1.25rem 1rem 2rem;background:#fff;min-height:100vh;overflow-wrap:anywhere}\
@media(min-width:40rem){main{min-height:0;margin:2rem auto;padding:2rem;border-radius:.75rem;box-shadow:0 1px 4px #0003}}\
.from{margin:0 0 1rem;font-weight:600;color:#44444c}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem}\
p{margin:0 0 1rem}\
fieldset{border:0;margin:0 0 1.25rem;padding:0;min-width:0}\
legend,.label{display:block;font-weight:600;font-size:1.1rem;padding:0;margin:0 0 .5rem}\
.choice{display:flex;align-items:center;gap:.75rem;min-height:3rem;padding:.5rem .75rem;margin:0 0 .5rem;border:1px solid #6b6b76;border-radius:.5rem;cursor:pointer}\
.choice input{flex:none;width:1.5rem;height:1.5rem;margin:0;accent-color:#1d3f91}\
.choice:has(:checked){border-color:#1d3f91;background:#eef2fc;box-shadow:inset 0 0 0 1px #1d3f91}\
.choice b{min-width:1ch}\
textarea{display:block;width:100%;min-height:9rem;padding:.75rem;margin:0 0 1.25rem;font:inherit;color:inherit;border:1px solid #6b6b76;border-radius:.5rem;resize:vertical}\
.hint{color:#44444c;margin:0 0 .5rem}\
.end{color:#44444c;font-size:.9rem;margin:1.25rem 0 0}\
button{display:block;width:100%;min-height:3rem;padding:.6rem 1rem;margin:0 0 .75rem;font:inherit;font-weight:600;color:#fff;background:#1d3f91;border:2px solid #1d3f91;border-radius:.5rem;cursor:pointer}\
button.other{color:#1d3f91;background:#fff}\
:focus-visible{outline:3px solid #1a1a1e;outline-offset:2px}\
.problem{border:3px solid #a3001b;border-radius:.5rem;padding:.75rem 1rem;margin:0 0 1.25rem}\
.problem h2{font-size:1.1rem;margin:0 0 .25rem}\
.problem ul{margin:0;padding:0 0 0 1.25rem}\
.problem a,.wrong{color:#a3001b;font-weight:600}\
.wrong{margin:0 0 .5rem}\
@media(forced-colors:active){.choice:has(:checked){outline:2px solid}}";

/// A page with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) html: String,
}

/// Whose survey it is, and until when the link works (`2026-06-05`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) carrier: &'a str,
    pub(super) until: &'a str,
}

/// A page that says something and asks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Thanks,
    Left,
    Answered,
    Expired,
    Unknown,
    Busy,
}

/// Writes a survey's pages in an operator's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages<'a> {
    pub(super) texts: &'a Texts,
    pub(super) of: Of<'a>,
}

impl Pages<'_> {
    /// The first page: the rating. `missing`: it was sent without one.
    pub(super) fn rating(&self, missing: bool) -> Page {
        let t = self.texts;
        let mut body = self.problem(missing.then_some(("rating-1", &t.no_rating)));
        self.put(&mut body, "<h1>", &t.title, "</h1>\n");
        self.put(&mut body, "<p>", &t.intro, "</p>\n");
        body.push_str(
            "<form method=\"post\" novalidate>\n<input type=\"hidden\" name=\"step\" value=\"rating\">\n",
        );
        let wrong = if missing { " aria-describedby=\"wrong\"" } else { "" };
        self.put(&mut body, &format!("<fieldset{wrong}>\n<legend>"), &t.question, "</legend>\n");
        if missing {
            self.put(&mut body, "<p class=\"wrong\" id=\"wrong\">", &t.no_rating, "</p>\n");
        }
        for (n, text) in
            (1..=RATING_MAX).zip([&t.rating_1, &t.rating_2, &t.rating_3, &t.rating_4, &t.rating_5])
        {
            let input = format!(
                "<label class=\"choice\" for=\"rating-{n}\"><input type=\"radio\" name=\"rating\" id=\"rating-{n}\" \
                 value=\"{n}\"> <b>{n}</b> <span>"
            );
            self.put(&mut body, &input, text, "</span></label>\n");
        }
        self.put(&mut body, "</fieldset>\n<button type=\"submit\">", &t.next, "</button>\n</form>\n");
        self.put(&mut body, "<p class=\"end\">", &t.until, "</p>\n");
        self.page(status(missing), &t.title, missing, &body)
    }

    /// The second page: the free text. `given`: what was sent, which is too long, and how many characters that is.
    pub(super) fn feedback(&self, rating: u8, given: Option<(&str, String)>) -> Page {
        let t = self.texts;
        let title = t.feedback_title.replace("{rating}", &rating.to_string());
        let wrong = given.is_some();
        let (given, length) = given.unwrap_or_default();
        let too_long = t.too_long.replace("{length}", &length);
        let mut body = self.problem(wrong.then_some(("text", &too_long)));
        self.put(&mut body, "<h1>", &title, "</h1>\n");
        body.push_str("<form method=\"post\" novalidate>\n");
        self.put(&mut body, "<label class=\"label\" for=\"text\">", &t.feedback, "</label>\n");
        self.put(&mut body, "<p class=\"hint\" id=\"hint\">", &t.feedback_hint, "</p>\n");
        let mut described = "hint";
        if wrong {
            self.put(&mut body, "<p class=\"wrong\" id=\"wrong\">", &too_long, "</p>\n");
            described = "hint wrong\" aria-invalid=\"true";
        }
        // A line end at the beginning of a text area is not part of what it holds.
        let input = format!(
            "<textarea name=\"text\" id=\"text\" rows=\"6\" dir=\"auto\" autocomplete=\"off\" aria-describedby=\"{described}\">\n"
        );
        body.push_str(&input);
        escape(&mut body, given);
        body.push_str("</textarea>\n");
        let button = |class: &str, step: &str| {
            format!("<button type=\"submit\"{class} name=\"step\" value=\"{step}\">")
        };
        // The first button is the one that the enter key presses.
        self.put(&mut body, &button("", "feedback"), &t.send, "</button>\n");
        self.put(&mut body, &button(" class=\"other\"", "leave"), &t.leave, "</button>\n");
        body.push_str("</form>\n");
        self.put(&mut body, "<p class=\"end\">", &t.until, "</p>\n");
        self.page(status(wrong), &title, wrong, &body)
    }

    /// A page that says something.
    pub(super) fn notice(&self, notice: Notice) -> Page {
        let t = self.texts;
        let (status, title, text) = match notice {
            Notice::Thanks => (StatusCode::OK, &t.thanks_title, &t.thanks),
            Notice::Left => (StatusCode::OK, &t.left_title, &t.left),
            Notice::Answered => (StatusCode::CONFLICT, &t.answered_title, &t.answered),
            Notice::Expired => (StatusCode::GONE, &t.expired_title, &t.expired),
            Notice::Unknown => (StatusCode::NOT_FOUND, &t.unknown_title, &t.unknown),
            Notice::Busy => (StatusCode::SERVICE_UNAVAILABLE, &t.busy_title, &t.busy),
        };
        let mut body = String::new();
        self.put(&mut body, "<h1>", title, "</h1>\n");
        self.put(&mut body, "<p>", text, "</p>\n");
        self.page(status, title, false, &body)
    }

    /// What is wrong, at the head of the page, with a link to where it is mended.
    fn problem(&self, wrong: Option<(&str, &String)>) -> String {
        let mut body = String::new();
        if let Some((at, what)) = wrong {
            let open = "<div class=\"problem\" role=\"alert\" tabindex=\"-1\" autofocus>\n<h2>";
            self.put(&mut body, open, &self.texts.problem, "</h2>\n");
            self.put(&mut body, &format!("<ul><li><a href=\"#{at}\">"), what, "</a></li></ul>\n</div>\n");
        }
        body
    }

    fn put(&self, body: &mut String, before: &str, text: &str, after: &str) {
        body.push_str(before);
        escape(body, &self.filled(text));
        body.push_str(after);
    }

    fn filled(&self, text: &str) -> String {
        // In this order, so that a carrier whose name looks like a place is left alone.
        text.replace("{until}", self.of.until).replace("{carrier}", self.of.carrier)
    }

    fn page(&self, status: StatusCode, title: &str, wrong: bool, body: &str) -> Page {
        let mut html = String::with_capacity(STYLE.len() + body.len() + 600);
        html.push_str("<!DOCTYPE html>\n<html lang=\"");
        escape(&mut html, &self.texts.lang);
        html.push_str(
            "\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>",
        );
        if wrong {
            self.put(&mut html, "", &self.texts.problem, ": ");
        }
        self.put(&mut html, "", title, "</title>\n");
        // Writing to a `String` cannot fail.
        let _ = write!(html, "<style>{STYLE}</style>\n</head>\n<body>\n<main>\n");
        if !self.of.carrier.is_empty() {
            html.push_str("<p class=\"from\">");
            escape(&mut html, self.of.carrier);
            html.push_str("</p>\n");
        }
        html.push_str(body);
        html.push_str("</main>\n</body>\n</html>\n");
        Page { status, html }
    }
}

fn status(wrong: bool) -> StatusCode {
    if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }
}

/// Text as it stands in HTML, between tags or in a quoted attribute.
fn escape(into: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            c => into.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</textarea></title></style><script>alert(1)</script>\"'&lt; {rating}{until}";

    fn pages<'a>(texts: &'a Texts, carrier: &'a str) -> Pages<'a> {
        Pages { texts, of: Of { carrier, until: "2026-06-05" } }
    }

    #[test]
    fn nothing_that_others_wrote_is_markup() {
        let texts = Texts::default();
        let pages = pages(&texts, HOSTILE);
        let notices =
            [Notice::Thanks, Notice::Left, Notice::Answered, Notice::Expired, Notice::Unknown, Notice::Busy];
        let mut all: Vec<Page> = notices.into_iter().map(|notice| pages.notice(notice)).collect();
        all.extend([
            pages.rating(false),
            pages.rating(true),
            pages.feedback(4, None),
            pages.feedback(4, Some((HOSTILE, "9".to_owned()))),
        ]);
        for page in all {
            let html = page.html;
            assert!(!html.contains("<script") && !html.contains("alert(1)</"), "{html}");
            assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "it is shown as text: {html}");
            assert_eq!(html.matches("</style>").count(), 1);
            assert_eq!(html.matches("</title>").count(), 1);
        }
        let kept = pages.feedback(4, Some(("\n  a\n", "4".to_owned()))).html;
        assert!(kept.contains("\">\n\n  a\n</textarea>"), "its first line end is kept: {kept}");
    }

    #[test]
    fn a_wrong_answer_says_where_it_is_mended() {
        let texts = Texts::default();
        let pages = pages(&texts, "Acme Mutual");
        let page = pages.rating(true);
        assert_eq!(page.status, 422);
        assert!(
            page.html.contains("<title>Please check your answer: How did Acme Mutual do?</title>"),
            "{}",
            page.html
        );
        for (link, target) in
            [("href=\"#rating-1\"", "id=\"rating-1\""), ("aria-describedby=\"wrong\"", "id=\"wrong\"")]
        {
            assert!(page.html.contains(link) && page.html.contains(target));
        }
        let long = "x".repeat(2_001);
        let page = pages.feedback(2, Some((&long, "2001".to_owned())));
        assert_eq!(page.status, 422);
        assert!(page.html.contains("it has 2001</a>") && page.html.contains(&long), "{}", page.html);
        assert!(page.html.contains("You chose 2 of 5"));
        assert_eq!(
            (pages.rating(false).status, pages.feedback(1, None).status),
            (StatusCode::OK, StatusCode::OK)
        );
    }
}
