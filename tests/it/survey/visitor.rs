//! A customer with a browser that has no script: opens a link, sends forms, follows nothing by itself.

use axum::http::HeaderMap;
use hookyard_tests::client::Api;
use hookyard_tests::sink::PATIENCE;
use reqwest::Method;
use scraper::{Html, Selector};

/// A customer with a link.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    http: reqwest::Client,
    /// Where the host listens.
    host: String,
    token: String,
}

/// A page.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) html: String,
}

impl Visitor {
    /// With this link, at this host: the proxy that the link's address belongs to is left out.
    pub(crate) fn at(admin: &Api, link: &str) -> Self {
        let token = link.strip_prefix("https://hooks.example.com/hookyard/s/").expect("the public address");
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(hookyard::deliver::http::tls().expect("TLS"))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .expect("HTTP");
        Self { http, host: admin.url().to_owned(), token: token.to_owned() }
    }

    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    /// The same visitor with another token.
    pub(crate) fn with(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    pub(crate) async fn get(&self) -> Seen {
        self.call("GET", None).await
    }

    /// Sends a form.
    pub(crate) async fn post(&self, form: &[(&str, &str)]) -> Seen {
        // A query is written as a form is.
        let url = reqwest::Url::parse_with_params("http://localhost/", form).unwrap();
        self.call("POST", Some(url.query().unwrap_or_default().to_owned())).await
    }

    pub(crate) async fn call(&self, method: &str, form: Option<String>) -> Seen {
        let method: Method = method.parse().unwrap();
        let mut request = self.http.request(method, format!("{}/s/{}", self.host, self.token));
        if let Some(form) = form {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        let answer = request.send().await.expect("the host answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let html = answer.text().await.expect("a page");
        Seen { status, headers, html }
    }
}

impl Seen {
    pub(crate) fn parsed(&self) -> Html {
        Html::parse_document(&self.html)
    }

    /// The text of the only element that this selects.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let (page, selector) = (self.parsed(), Selector::parse(selector).unwrap());
        let found: Vec<String> = page.select(&selector).map(|e| e.text().collect()).collect();
        assert_eq!(found.len(), 1, "{}", self.html);
        found[0].clone()
    }

    pub(crate) fn count(&self, selector: &str) -> usize {
        self.parsed().select(&Selector::parse(selector).unwrap()).count()
    }

    #[track_caller]
    pub(crate) fn heading(&self) -> String {
        self.text("h1")
    }
}
