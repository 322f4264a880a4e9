//! Certificates of a destination's own, and the operator's proxy.

use hookyard::carrier::{Auth, Grant, OAuth2, Tls};
use hookyard::deliver::{EgressProxy, SenderParts};
use hookyard_tests::proxy::Proxy;
use hookyard_tests::sink::{Answer, Sink};
use hookyard_tests::tls::Authority;

use super::*;

fn trusting(authority: &Authority) -> Tls {
    Tls { ca: Some(authority.pem()), ..Tls::default() }
}

fn showing(authority: &Authority, (certificate, key): (String, String)) -> Tls {
    Tls { client_certificate: Some(certificate), client_key: Some(key), ..trusting(authority) }
}

fn over(tls: Tls) -> DestinationSecrets {
    DestinationSecrets { tls: Some(tls), ..DestinationSecrets::default() }
}

async fn send(sender: &Sender, url: &str, secrets: &DestinationSecrets) -> Report {
    sender.attempt(&target(url, secrets), &forwarded(), LONG, NOW).await
}

#[tokio::test]
async fn a_root_of_its_own_is_trusted_and_no_other() {
    let (authority, stranger) = (Authority::default(), Authority::default());
    let sink = Sink::start_tls(authority.server()).await;
    let sender = Sender::new(&loopback()).unwrap();
    let url = sink.url("/claims");
    let report = send(&sender, &url, &over(trusting(&authority))).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    for secrets in [DestinationSecrets::default(), over(trusting(&stranger))] {
        let report = send(&sender, &url, &secrets).await;
        assert_eq!((report.outcome, report.kind), (Outcome::Network(NetworkFault::Tls), "tls"));
        let error = report.error.unwrap();
        assert!(error.contains("invalid peer certificate: UnknownIssuer"), "{error}");
    }
    // A name that the certificate is not for.
    let report = send(&sender, &url.replace("localhost", "127.0.0.1"), &over(trusting(&authority))).await;
    assert_eq!(report.kind, "tls");
    assert_eq!(sink.count(), 1);
    // Several in one text.
    let both = Tls { ca: Some(format!("{}\n{}", stranger.pem(), authority.pem())), ..Tls::default() };
    assert_eq!(send(&sender, &url, &over(both)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_receiver_that_demands_a_certificate_gets_it_and_so_does_its_token_server() {
    let (authority, clients) = (Authority::default(), Authority::default());
    let sink = Sink::start_tls(authority.server_for(&clients)).await;
    let sender = Sender::new(&loopback()).unwrap();
    let url = sink.url("/claims");
    let good = over(showing(&authority, clients.client("router.example")));
    let report = send(&sender, &url, &good).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    for secrets in [over(trusting(&authority)), over(showing(&authority, authority.client("router.example")))]
    {
        let report = send(&sender, &url, &secrets).await;
        assert_eq!(report.outcome, Outcome::Network(NetworkFault::Tls), "{report:?}");
        let error = report.error.unwrap();
        assert!(error.contains("received fatal alert"), "{error}");
    }
    assert_eq!(sink.count(), 1);

    sink.script(|request| match request.path.as_str() {
        "/token" => Answer::Body(200, r#"{"access_token":"t","expires_in":60}"#.to_owned()),
        _ => Answer::Status(200),
    });
    let settings = OAuth2 {
        grant: Grant::ClientCredentials,
        token_url: sink.url("/token"),
        client_id: Some("router".to_owned()),
        client_secret: None,
        scope: None,
        audience: None,
        parameters: std::collections::BTreeMap::new(),
        optional_params: vec!["client_secret".to_owned()],
        additional_headers: std::collections::BTreeMap::new(),
    };
    let report =
        send(&sender, &url, &DestinationSecrets { auth: Some(Auth::OAuth2(settings)), ..good }).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    let last = sink.requests().pop().unwrap();
    assert_eq!((last.path.as_str(), last.header("authorization")), ("/claims", "Bearer t"));
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_by_name_and_never_shown() {
    let authority = Authority::default();
    let (certificate, key) = authority.client("a.example");
    let (_, other_key) = authority.client("b.example");
    let tls = |certificate: Option<&str>, key: Option<&str>, ca: Option<&str>| Tls {
        client_certificate: certificate.map(str::to_owned),
        client_key: key.map(str::to_owned),
        ca: ca.map(str::to_owned),
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let cut = &key[..key.len() / 2];
    let long = "x".repeat(70_000);
    let (c, k) = (Some(certificate.as_str()), Some(key.as_str()));
    let cases = [
        (tls(c, None, None), "tls.client_key: it is missing"),
        (tls(None, k, None), "tls.client_certificate: it is missing"),
        (tls(c, Some(&other_key), None), "tls.client_key: it does not belong to the first certificate"),
        (tls(Some("nothing"), k, None), "tls.client_certificate: it takes certificates in PEM"),
        (tls(Some(broken), k, None), "tls.client_certificate: its first certificate cannot be read"),
        (tls(c, Some(cut), None), "tls.client_key: it takes a private key in PEM"),
        (tls(c, c, None), "tls.client_key: it takes a private key in PEM"),
        (tls(c, Some(odd), None), "tls.client_key: the key is of a kind that cannot be used"),
        (tls(c, Some("***"), None), "tls.client_key: `***` only stands for"),
        (tls(None, None, Some("nothing")), "tls.ca: it takes certificates in PEM"),
        (tls(None, None, Some(broken)), "tls.ca: "),
        (tls(None, None, Some(&long)), "tls.ca: 70000 bytes, the limit is 65536"),
    ];
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("---")).collect();
    for (tls, expected) in cases {
        let error = Target::check(&spec("https://a.example"), &over(tls), &loopback()).unwrap_err();
        let (field, text) = (error.field(), error.to_string());
        assert!(text.starts_with(expected) && text.starts_with(&format!("{field}: ")), "{text}");
        assert!(!lines.iter().any(|line| text.contains(line)), "{text}");
    }
    let good = over(tls(c, k, Some(&authority.pem())));
    let target = target("https://a.example", &good);
    let shown = format!("{target:?}{good:?}");
    assert!(!lines.iter().any(|line| shown.contains(line)), "{shown}");
}

fn through(proxy: &Proxy, user: &str, except: &[&str], policy: &AddressPolicy) -> Sender {
    let except: Vec<String> = except.iter().map(|entry| (*entry).to_owned()).collect();
    let proxy = EgressProxy::new(&proxy.url(user)).unwrap().except(&except).unwrap();
    Sender::with(policy, SenderParts { proxy: Some(proxy), ..SenderParts::default() }).unwrap()
}

#[tokio::test]
async fn the_proxy_connects_and_sees_no_request_over_tls() {
    let authority = Authority::default();
    let sink = Sink::start_tls(authority.server()).await;
    let proxy = Proxy::start().await;
    let sender = through(&proxy, "us%40er:hush@", &[], &loopback());
    let report = send(&sender, &sink.url("/claims"), &over(trusting(&authority))).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    let head = proxy.heads().remove(0);
    let place = sink.url("").replace("https://", "");
    assert_eq!(head[0], format!("CONNECT {place} HTTP/1.1"));
    let authorization =
        head.iter().find_map(|line| line.to_lowercase().starts_with("proxy-auth").then_some(line));
    // `us@er:hush` in base64.
    assert!(authorization.is_some_and(|line| line.ends_with("Basic dXNAZXI6aHVzaA==")), "{head:?}");
    assert_eq!((proxy.heads().len(), sink.count()), (1, 1));
    let seen = sink.requests().remove(0);
    assert!(!seen.headers.keys().any(|name| name.starts_with("proxy")), "{:?}", seen.headers);
    assert!(!format!("{sender:?}{report:?}").contains("hush"));

    // Plain HTTP is asked of the proxy itself.
    let report = send(&sender, "http://127.0.0.1:9/claims?a=1", &DestinationSecrets::default()).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    assert_eq!(proxy.heads()[1][0], "POST http://127.0.0.1:9/claims?a=1 HTTP/1.1");
}

#[tokio::test]
async fn what_the_guard_refuses_never_gets_to_the_proxy() {
    let (sink, proxy) = (Sink::start().await, Proxy::start().await);
    let strict = AddressPolicy { allow_http: true, ..AddressPolicy::default() };
    // The proxy itself may stand anywhere.
    let sender = through(&proxy, "", &[], &strict);
    for url in [sink.url("/claims"), sink.url("/claims").replace("127.0.0.1", "localhost")] {
        let report = send(&sender, &url, &DestinationSecrets::default()).await;
        assert_eq!((report.kind, proxy.heads().len(), sink.count()), ("blocked_address", 0, 0));
    }
    let report = send(&sender, "https://no-such-name.invalid/", &DestinationSecrets::default()).await;
    assert_eq!((report.kind, proxy.heads().len()), ("dns", 0));
}

#[tokio::test]
async fn exceptions_are_reached_without_the_proxy() {
    let (sink, proxy) = (Sink::start().await, Proxy::start().await);
    let named = sink.url("/claims").replace("127.0.0.1", "localhost");
    for (except, url) in [
        (vec!["127.0.0.0/8"], sink.url("/claims")),
        (vec!["127.0.0.0/8", "::1"], named.clone()),
        (vec!["localhost"], named.clone()),
    ] {
        sink.forget();
        let sender = through(&proxy, "", &except, &loopback());
        let report = send(&sender, &url, &DestinationSecrets::default()).await;
        assert_eq!((report.kind, sink.count(), proxy.heads().len()), ("delivered", 1, 0), "{except:?}");
    }
    let sender = through(&proxy, "", &["10.0.0.0/8", ".example"], &loopback());
    send(&sender, &named, &DestinationSecrets::default()).await;
    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_is_down_or_refuses_is_a_failure_to_connect() {
    let proxy = Proxy::start().await;
    let sender = through(&proxy, "user:hush@", &[], &loopback());
    // It cannot connect there, and hangs up.
    let report = send(&sender, "https://127.0.0.1:9/claims", &DestinationSecrets::default()).await;
    assert_eq!((report.kind, proxy.heads().len()), ("connect", 1));
    drop(proxy);
    let report = send(&sender, "http://127.0.0.1:9/claims", &DestinationSecrets::default()).await;
    assert_eq!(report.kind, "connect");
    let error = report.error.unwrap();
    assert!(error.starts_with("through the egress proxy: ") && !error.contains("hush"), "{error}");
}
