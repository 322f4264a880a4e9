//! Tests of the way from a verdict to an outcome.

use super::*;

fn judge(list: Vec<v1::Delivery>) -> Result<Vec<Delivery>, Fault> {
    let granted = [
        ("claims".parse().unwrap(), DestinationKind::Http),
        ("office".parse().unwrap(), DestinationKind::Email),
        ("files".parse().unwrap(), DestinationKind::Sftp),
    ];
    let limits = Limits { output_bytes: 20_000, deliveries: 3, ..Limits::default() };
    Rules { granted: &granted, limits: &limits, received: Millis(1_000), given: None }.deliveries(list)
}

fn to(destination: &str) -> v1::HttpRequest {
    v1::HttpRequest {
        destination: destination.to_owned(),
        method: v1::Method::Post,
        path: None,
        headers: vec![],
        content_type: None,
        body: v1::Content::Original,
    }
}

fn one(request: v1::HttpRequest) -> v1::Delivery {
    v1::Delivery { send: v1::Message::Http(request), not_before_ms: None, order_key: None }
}

/// The reason of the refusal of one request.
fn refusal(request: v1::HttpRequest) -> String {
    match judge(vec![one(request)]) {
        Err(Fault::Rejected(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn destinations_must_be_granted_and_of_the_right_kind() {
    assert_eq!(
        refusal(to("elsewhere")),
        "delivery 0: destination \"elsewhere\" is not granted: add it to the subscription's destinations"
    );
    assert!(refusal(to("office")).contains("is of kind email, and this is a message of kind http"));
    let sent = judge(vec![one(to("claims"))]).unwrap();
    assert_eq!(sent[0].send.destination().as_str(), "claims");
}

#[test]
fn a_file_has_any_name_and_stays_below_its_folder() {
    let named = |path: &str| {
        let file = v1::SftpFile {
            destination: "files".to_owned(),
            path: path.to_owned(),
            content: v1::Content::Original,
        };
        judge(vec![v1::Delivery { send: v1::Message::Sftp(file), not_before_ms: None, order_key: None }])
    };
    for path in ["a.pdf", "Fälle 2026/Bericht #1? 100%.pdf", "a..b/%2e%2e"] {
        let sent = named(path).unwrap();
        assert!(matches!(&sent[0].send, Message::Sftp(file) if file.path == path), "{path}");
    }
    let deep = ["a"; 17].join("/");
    for path in ["", "/etc/passwd", "a/../b", "./a", "a\\b", "a\nb", "a//b", "a/", &deep, &"x".repeat(256)] {
        let Err(Fault::Rejected(why)) = named(path) else { panic!("{path}") };
        assert!(
            why.starts_with("delivery 0: path ") && why.contains("below the destination's folder"),
            "{why}"
        );
    }
}

#[test]
fn a_file_goes_only_where_files_go() {
    let file = v1::SftpFile {
        destination: "claims".to_owned(),
        path: "a".to_owned(),
        content: v1::Content::Original,
    };
    let delivery = v1::Delivery { send: v1::Message::Sftp(file), not_before_ms: None, order_key: None };
    let fault = judge(vec![delivery]).unwrap_err();
    let expected = "delivery 0: destination \"claims\" is of kind http, and this is a message of kind sftp";
    assert_eq!(fault, Fault::Rejected(expected.to_owned()));
}

#[test]
fn headers_are_checked() {
    let with = |name: &str, value: &str| v1::HttpRequest {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..to("claims")
    };
    for name in ["Authorization", "host", "Content-Length", "Webhook-Id", "RequestId", "transfer-encoding"] {
        assert!(refusal(with(name, "x")).contains("is reserved"), "{name}");
    }
    assert!(refusal(with("content-type", "x")).contains("use the content-type field"));
    assert!(refusal(with("a b", "x")).contains("not the name of a header"));
    assert!(refusal(with("x-brand", "a\r\nb: c")).contains("printable ASCII"));
    let sent = judge(vec![one(with("X-Brand", "quay"))]).unwrap();
    let Message::Http(request) = &sent[0].send else { panic!("{sent:?}") };
    assert_eq!(request.headers, [("x-brand".to_owned(), "quay".to_owned())]);
    let many = v1::HttpRequest { headers: vec![("x".to_owned(), String::new()); 65], ..to("claims") };
    assert!(refusal(many).contains("65 headers, 64 allowed"));
}

#[test]
fn a_path_stays_below_the_destinations_address() {
    let with = |path: &str| v1::HttpRequest { path: Some(path.to_owned()), ..to("claims") };
    let paths = [
        "//evil.test",
        "https://evil.test/",
        "a/../b",
        "%2E%2e/b",
        "a/..",
        "a%2f..",
        "a\\b",
        "a#b",
        "a b",
        "ü",
    ];
    for path in paths {
        assert!(refusal(with(path)).starts_with("delivery 0: path "), "{path}");
    }
    for (path, kept) in [("a/b?c=../d:e", "a/b?c=../d:e"), ("/a", "a"), ("a..b", "a..b"), ("", "")] {
        let sent = judge(vec![one(with(path))]).unwrap();
        let Message::Http(request) = &sent[0].send else { panic!("{sent:?}") };
        assert_eq!(request.path.as_deref(), Some(kept));
    }
}

#[test]
fn what_is_fetched_has_a_web_address() {
    for url in ["ftp://a.test/x", "https://", "https://u:p@a.test/", "file:///etc/passwd", "a"] {
        let request = v1::HttpRequest { body: v1::Content::Fetch(url.to_owned()), ..to("claims") };
        assert!(refusal(request).contains("cannot be fetched"), "{url}");
    }
}

#[test]
fn counts_and_bytes_are_limited_by_name() {
    let fault = judge(vec![one(to("claims")); 4]).unwrap_err();
    assert_eq!(fault.to_string(), "limit deliveries hit: 4 deliveries in one verdict, 3 allowed");
    let big = v1::HttpRequest { body: v1::Content::Bytes(vec![0; 10_000]), ..to("claims") };
    let fault = judge(vec![one(big.clone()), one(big)]).unwrap_err();
    assert_eq!(fault.to_string(), "limit output_bytes hit: the verdict holds 20012 bytes, 20000 allowed");
}

#[test]
fn times_and_order_keys_are_checked() {
    let month = 30 * 24 * 60 * 60 * 1_000;
    let at = |ms| v1::Delivery { not_before_ms: Some(ms), ..one(to("claims")) };
    assert_eq!(judge(vec![at(1_000 + month)]).unwrap()[0].not_before, Some(Millis(1_000 + 2_592_000_000)));
    assert!(judge(vec![at(1_001 + month)]).is_err());
    assert!(judge(vec![at(u64::MAX)]).is_err());
    for key in [String::new(), "k".repeat(129)] {
        assert!(judge(vec![v1::Delivery { order_key: Some(key), ..one(to("claims")) }]).is_err());
    }
}
