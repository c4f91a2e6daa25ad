//! The few pages that the hub draws itself: approval of a device or a command line, messages, and sign-in where the
//! console is not part of the build. Plain HTML and one style sheet; no script.
//!
//! Must not know: who may do what.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFRESH};
use http::{HeaderValue, StatusCode};

use crate::error::ApiError;

/// Nothing but our style sheet, and forms that come back to us.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The style sheet of all pages.
pub const STYLE: &str = include_str!("pages.css");

/// A link that is drawn as a button.
pub struct Button {
    /// Where it leads: a path of ours.
    pub href: String,
    /// What it says.
    pub label: String,
}

/// What the sign-in page offers.
#[derive(Default)]
pub struct SignIn<'a> {
    /// Ways to sign in elsewhere.
    pub ways: Vec<Button>,
    /// Where to go afterwards.
    pub return_to: &'a str,
    /// What happened before.
    pub message: Option<&'a str>,
    /// Whether developers get in without a proof.
    pub developer: bool,
}

/// Text as it stands in HTML, in an attribute too.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn page(status: StatusCode, title: &str, content: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Flotilla</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"/auth/style.css\"></head>\
         <body><header><span class=\"mark\" aria-hidden=\"true\"></span>Flotilla</header><main><h1>{title}</h1>{content}</main></body></html>",
        title = escape(title)
    );
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (status, headers, html).into_response()
}

fn hidden(fields: &[(&str, &str)]) -> String {
    fields.iter().fold(String::new(), |mut html, (name, value)| {
        let _ = write!(html, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
        html
    })
}

/// The choice of ways to sign in, and the form for accounts of the hub's own.
#[must_use]
pub fn sign_in(status: StatusCode, offer: &SignIn<'_>) -> Response {
    let mut html = offer.message.map(|text| format!("<p class=\"note\">{}</p>", escape(text))).unwrap_or_default();
    for way in &offer.ways {
        let _ = write!(html, "<a class=\"btn\" href=\"{}\">{}</a>", escape(&way.href), escape(&way.label));
    }
    if !offer.ways.is_empty() {
        html.push_str("<p class=\"or\"><span>or with an account of this hub</span></p>");
    }
    let _ = write!(
        html,
        "<form method=\"post\" action=\"/login\">{}<label>E-mail<input name=\"email\" type=\"email\" autocomplete=\"username\" \
         required></label><label>Password<input name=\"password\" type=\"password\" autocomplete=\"current-password\" \
         required></label><button class=\"btn p\">Sign in</button></form>",
        hidden(&[("return_to", offer.return_to)])
    );
    if offer.developer {
        let _ = write!(
            html,
            "<form method=\"post\" action=\"/dev/login\" class=\"dev\">{}<p><b>Developer sign-in is on.</b> Anyone on this \
             machine gets in without a proof.</p><button class=\"btn\">Continue as developer</button></form>",
            hidden(&[("return_to", offer.return_to)])
        );
    }
    page(status, "Sign in", &html)
}

/// A question with yes and no, asked of somebody who is signed in.
pub struct Question<'a> {
    /// Headline.
    pub title: &'a str,
    /// Who is asked.
    pub email: &'a str,
    /// What happens on yes.
    pub text: &'a str,
    /// What asks, in its own words.
    pub client: &'a str,
    /// What must be the same on the other screen.
    pub code: Option<&'a str>,
    /// Path of ours that takes the answer as `decision`.
    pub action: &'a str,
    /// Goes with the answer.
    pub fields: &'a [(&'a str, &'a str)],
}

/// Asks.
#[must_use]
pub fn ask(question: &Question<'_>) -> Response {
    let code = question.code.map(|code| format!("<p class=\"code\">{}</p>", escape(code))).unwrap_or_default();
    let html = format!(
        "<p>{}</p>{code}<dl><dt>Asked by</dt><dd>{}</dd><dt>You are</dt><dd>{}</dd></dl>\
         <form method=\"post\" action=\"{}\" class=\"row\">{}\
         <button class=\"btn p\" name=\"decision\" value=\"approve\">Approve</button>\
         <button class=\"btn\" name=\"decision\" value=\"deny\">Deny</button></form>\
         <p class=\"fine\">Deny if you did not start this yourself, just now.</p>",
        escape(question.text),
        escape(question.client),
        escape(question.email),
        question.action,
        hidden(question.fields),
    );
    page(StatusCode::OK, question.title, &html)
}

/// Asks for the code that another screen shows.
#[must_use]
pub fn device_code(status: StatusCode, message: Option<&str>) -> Response {
    let note = message.map(|text| format!("<p class=\"note\">{}</p>", escape(text))).unwrap_or_default();
    let html = format!(
        "{note}<p>Type the code that the other screen shows.</p><form method=\"get\" action=\"/auth/device\">\
         <label>Code<input name=\"user_code\" class=\"m\" autocomplete=\"off\" autocapitalize=\"characters\" \
         spellcheck=\"false\" placeholder=\"XXXX-XXXX\" maxlength=\"16\" required autofocus></label>\
         <button class=\"btn p\">Continue</button></form>"
    );
    page(status, "Sign in on another device", &html)
}

/// Asks somebody who is invited and has no account yet for the password of his new one.
#[must_use]
pub fn new_account(email: &str, text: &str, action: &str) -> Response {
    let html = format!(
        "<p>{}</p><form method=\"post\" action=\"{}\"><label>E-mail<input type=\"email\" autocomplete=\"username\" value=\"{}\" \
         readonly></label><label>Password<input name=\"password\" type=\"password\" autocomplete=\"new-password\" \
         minlength=\"12\" maxlength=\"256\" required autofocus></label><button class=\"btn p\">Make the account</button></form>",
        escape(text),
        escape(action),
        escape(email),
    );
    page(StatusCode::OK, "Invitation", &html)
}

/// Says how something ended.
#[must_use]
pub fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, title, &format!("<p>{}</p><p><a href=\"/login\">Sign-in page</a></p>", escape(text)))
}

/// Who is signed in, with a way out.
#[must_use]
pub fn signed_in(email: &str) -> Response {
    let html = format!(
        "<p>You are signed in as <b>{}</b>.</p><form method=\"post\" action=\"/logout\"><button class=\"btn\">Sign out\
         </button></form>",
        escape(email)
    );
    page(StatusCode::OK, "Signed in", &html)
}

/// Sends the browser on to another site after a form. Not by a redirect: browsers hold those to `form-action`, which
/// allows this site alone.
#[must_use]
pub fn onward(title: &str, url: &str) -> Response {
    let html = format!("<p><a class=\"btn p\" href=\"{}\">Continue</a></p>", escape(url));
    let mut response = page(StatusCode::OK, title, &html);
    if let Ok(value) = HeaderValue::from_str(&format!("0;url={url}")) {
        response.headers_mut().insert(REFRESH, value);
    }
    response
}

/// An error as a page, for routes that people visit.
pub struct PageError(pub ApiError);

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        message(self.0.status, "That did not work", &self.0.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_others_say_stays_text() {
        let evil = "<script>\"'&";
        let question = Question {
            title: evil,
            email: evil,
            text: evil,
            client: evil,
            code: Some(evil),
            action: "/x",
            fields: &[("a", evil)],
        };
        for response in [ask(&question), message(StatusCode::OK, evil, evil), signed_in(evil), onward(evil, evil)] {
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let html = String::from_utf8(body.to_vec()).unwrap();
            assert!(!html.contains("<script") && html.contains("&lt;script&gt;&quot;&#39;&amp;"), "{html}");
        }
    }
}
