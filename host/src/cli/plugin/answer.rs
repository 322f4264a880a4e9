//! From the host's outcome to the form in which example files say what they expect. Pure; it must not know how the
//! outcome came about.

use hookyard_sdk::testing::{Body, Outcome as Expected, Sent, SentAttachment, SentEmail, SentFile, SentHttp};

use crate::carrier::DestinationKind;
use crate::plugin::{Content, Delivery, Fault, Message, Outcome};

/// What a plugin answered, as an example file would write it. `None` when it gave no answer of its own.
pub(super) fn written(result: &Result<Outcome, Fault>) -> Option<Expected> {
    Some(match result {
        Ok(Outcome::Drop(reason)) => Expected::Drop(reason.clone()),
        Ok(Outcome::Forward(content)) => Expected::Forward(body(content)),
        Ok(Outcome::Deliver(list)) => Expected::Deliver(list.iter().map(sent).collect()),
        Err(Fault::Rejected(reason)) => Expected::Rejected(reason.clone()),
        Err(Fault::Temporary(reason)) => Expected::Temporary(reason.clone()),
        Err(_) => return None,
    })
}

/// An expectation in the form that the host gives an answer: names of headers in lower case, paths from their `/` on.
pub(super) fn as_the_host_has_it(mut expected: Expected) -> Expected {
    if let Expected::Deliver(list) = &mut expected {
        for sent in list {
            if let Some(http) = &mut sent.http {
                http.path = http.path.as_deref().map(rooted);
                http.headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
            }
            if let Some(file) = &mut sent.sftp {
                file.path = rooted(&file.path);
            }
        }
    }
    expected
}

/// The destinations that an expectation names, with the kinds that it takes them for.
pub(super) fn destinations(expected: Option<&Expected>) -> Vec<(String, DestinationKind)> {
    let Some(Expected::Deliver(list)) = expected else { return Vec::new() };
    let named = |sent: &Sent| {
        let http = sent.http.as_ref().map(|m| (m.destination.clone(), DestinationKind::Http));
        let email = sent.email.as_ref().map(|m| (m.destination.clone(), DestinationKind::Email));
        let sftp = sent.sftp.as_ref().map(|m| (m.destination.clone(), DestinationKind::Sftp));
        http.or(email).or(sftp)
    };
    list.iter().filter_map(named).collect()
}

/// Bytes that the limit `output_bytes` counts.
pub(super) fn output_bytes(outcome: &Outcome) -> u64 {
    let bytes = match outcome {
        Outcome::Drop(_) => 0,
        Outcome::Forward(content) => content_len(content),
        Outcome::Deliver(list) => list.iter().map(delivery_len).sum(),
    };
    bytes as u64
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn body(content: &Content) -> Body {
    match content {
        Content::Original => Body::Original,
        Content::Bytes(bytes) => Body::of_bytes(bytes),
        Content::Fetch(url) => Body::Fetch(url.clone()),
    }
}

fn sent(delivery: &Delivery) -> Sent {
    let not_before_ms = delivery.not_before.map(|at| u64::try_from(at.0).unwrap_or(0));
    let mut sent = Sent { not_before_ms, order_key: delivery.order_key.clone(), ..Sent::default() };
    match &delivery.send {
        Message::Http(m) => {
            sent.http = Some(SentHttp {
                destination: m.destination.to_string(),
                method: m.method.as_str().to_owned(),
                path: m.path.as_deref().map(rooted),
                headers: m.headers.clone(),
                content_type: m.content_type.clone(),
                body: body(&m.body),
            });
        }
        Message::Email(m) => {
            let attachment = |a: &crate::plugin::Attachment| SentAttachment {
                name: a.name.clone(),
                content_type: a.content_type.clone(),
                content: body(&a.content),
            };
            sent.email = Some(SentEmail {
                destination: m.destination.to_string(),
                to: m.to.clone(),
                cc: m.cc.clone(),
                subject: m.subject.clone(),
                text: m.text.clone(),
                html: m.html.clone(),
                attachments: m.attachments.iter().map(attachment).collect(),
            });
        }
        Message::Sftp(m) => {
            sent.sftp = Some(SentFile {
                destination: m.destination.to_string(),
                path: rooted(&m.path),
                content: body(&m.content),
            });
        }
    }
    sent
}

fn content_len(content: &Content) -> usize {
    match content {
        Content::Original => 0,
        Content::Bytes(bytes) => bytes.len(),
        Content::Fetch(url) => url.len(),
    }
}

fn delivery_len(delivery: &Delivery) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let all = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let message = match &delivery.send {
        Message::Http(m) => {
            let headers: usize = m.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            optional(&m.path) + headers + optional(&m.content_type) + content_len(&m.body)
        }
        Message::Email(m) => {
            let files =
                |a: &crate::plugin::Attachment| a.name.len() + a.content_type.len() + content_len(&a.content);
            all(&m.to)
                + all(&m.cc)
                + m.subject.len()
                + optional(&m.text)
                + optional(&m.html)
                + m.attachments.iter().map(files).sum::<usize>()
        }
        Message::Sftp(m) => m.path.len() + content_len(&m.content),
    };
    delivery.send.destination().as_str().len() + message + optional(&delivery.order_key)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hookyard_sdk::testing::Example;
    use serde_json::{Value, json};

    use super::*;
    use crate::carrier::destination::HttpMethod;
    use crate::clock::Millis;
    use crate::plugin::HttpRequest;

    fn request(body: Content) -> Outcome {
        Outcome::Deliver(vec![Delivery {
            send: Message::Http(HttpRequest {
                destination: "claims".parse().unwrap(),
                method: HttpMethod::Put,
                path: Some("events?a=b".to_owned()),
                headers: vec![("x-team".to_owned(), "Blue".to_owned())],
                content_type: None,
                body,
            }),
            not_before: Some(Millis(1_767_225_600_000)),
            order_key: Some("k".to_owned()),
        }])
    }

    fn expected(expect: &Value) -> Expected {
        let file = json!({"type": "a.b", "payload": {}, "expect": expect}).to_string();
        as_the_host_has_it(Example::parse(&file).unwrap().expect.unwrap())
    }

    #[test]
    fn an_answer_is_what_its_example_file_says_however_that_writes_it() {
        let got = Ok(request(Content::Bytes(Bytes::from_static(br#"{"b": 1, "a": [2]}"#))));
        for path in ["/events?a=b", "events?a=b"] {
            let expect = expected(&json!({"deliver": [{
                "http": {"destination": "claims", "method": "PUT", "path": path, "headers": [["X-Team", "Blue"]],
                         "body": {"json": {"a": [2], "b": 1}}},
                "not_before_ms": 1_767_225_600_000_u64, "order_key": "k",
            }]}));
            assert_eq!(written(&got), Some(expect));
        }
        let drop: Result<_, Fault> = Ok(Outcome::Drop("why".to_owned()));
        assert_eq!(written(&drop), Some(expected(&json!({"drop": "why"}))));
        let rejected = Err(Fault::Rejected("why".to_owned()));
        assert_eq!(written(&rejected), Some(expected(&json!({"rejected": "why"}))));
        assert_eq!(written(&Err(Fault::Host("why".to_owned()))), None);
    }

    #[test]
    fn sizes_are_counted_as_the_limit_counts_them() {
        let ten = Content::Bytes(Bytes::from_static(b"0123456789"));
        assert_eq!(output_bytes(&Outcome::Forward(ten.clone())), 10);
        assert_eq!(output_bytes(&Outcome::Forward(Content::Original)), 0);
        // `claims`, the path, `x-team` with `Blue`, the body, `k`.
        assert_eq!(output_bytes(&request(ten)), 6 + 10 + 10 + 10 + 1);
    }

    #[test]
    fn the_destinations_of_an_expectation_are_found_with_their_kinds() {
        let expect = expected(&json!({"deliver": [
            {"http": {"destination": "a"}},
            {"sftp": {"destination": "b", "path": "c"}},
        ]}));
        let named = destinations(Some(&expect));
        assert_eq!(named, [("a".to_owned(), DestinationKind::Http), ("b".to_owned(), DestinationKind::Sftp)]);
        assert!(destinations(None).is_empty());
    }
}
