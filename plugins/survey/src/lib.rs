//! Mails the customer of a closed case a link to a survey: a page of the host with a rating and a free text. The README says
//! what the settings take.

use hookyard::settings::{self, SettingError};
use hookyard::template::{Form, Template, Variables};
use hookyard::{Delivery, Event, Result, Value, Verdict, links};

/// Where the customer's address stands unless the setting `to` says otherwise.
const TO: &str = "customer.email";
const SUBJECT: &str = "How did we do?";
const TEXT: &str = "Hello,

your case is closed. Please tell us how it went:

${survey}

It takes a minute, and the link can be answered once. Thank you.
";
const HTML: &str = "<p>Hello,</p>
<p>your case is closed. Please tell us how it went:</p>
<p><a href=\"${survey}\">Answer the survey</a></p>
<p>It takes a minute, and the link can be answered once. Thank you.</p>
";

/// A template from the settings, and what is wrong with it.
fn template(
    key: &str,
    default: &str,
    read: fn(&str) -> Result<Template, hookyard::template::TemplateError>,
) -> Result<Template, SettingError> {
    let text = settings::get(key);
    read(text.as_deref().unwrap_or(default)).map_err(|why| settings::invalid(key, why))
}

/// The body of the mail. Without the link it would be of no use.
fn body(key: &str, default: &str, case: &Value, variables: &Variables, form: Form) -> Result<String> {
    let body = template(key, default, Template::parse_text)?.text(case, variables, form);
    match case["survey"].as_str() {
        Some(link) if body.contains(link) => Ok(body),
        _ => Err(settings::invalid(key, "`${survey}`, the link, is not in it"))?,
    }
}

/// Mails the link; drops a case whose customer has no address, and what the survey itself set off.
#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let destination = settings::required("destination")?;
    let path = settings::get("to").unwrap_or_else(|| TO.to_owned());
    let mut case: Value = event.json()?;
    if case["event"]["type"].as_str().is_some_and(|told| told.starts_with("survey.")) {
        return Ok(Verdict::drop("it tells of a survey"));
    }
    let variables = Variables::of(&case, event.received_ms);
    let to = Template::parse_line(&format!("${{{path}}}")).map_err(|why| settings::invalid("to", why))?;
    let to = to.line(&case, &variables);
    if to.is_empty() {
        return Ok(Verdict::drop(format!("{path} is missing: there is no address to send a survey to")));
    }

    let Some(members) = case.as_object_mut() else { return Ok(Verdict::drop("the payload is no object")) };
    members.insert("survey".to_owned(), links::survey()?.into());
    let subject = template("subject", SUBJECT, Template::parse_line)?.line(&case, &variables);
    let text = body("text", TEXT, &case, &variables, Form::Plain)?;
    let mail = Delivery::email(destination).to(to).subject(subject).text(text);
    // A text of one's own alone must not go out beside the HTML that comes with the plugin.
    let html = settings::get("html").or_else(|| settings::get("text").is_none().then(|| HTML.to_owned()));
    Ok(match html.filter(|html| !html.is_empty()) {
        Some(html) => mail.html(body("html", &html, &case, &variables, Form::Html)?),
        None => mail,
    }
    .into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_example_gets_what_it_expects() {
        hookyard::testing::run_examples(env!("CARGO_MANIFEST_DIR"), super::handle);
    }
}
