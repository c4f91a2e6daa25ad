//! Reads the object that a write is about to change, as the caller, so that the audit log can say what changed.
//!
//! The write's attempted row is on disk by then, and the read goes out under the same request id. Whatever goes wrong
//! with it, the write goes on: the row then says why there is no diff.
//!
//! Must not know: how objects are compared.

use std::time::Duration;

use flotilla_tunnel::body::empty;
use flotilla_types::id::RequestId;
use futures_util::future::BoxFuture;
use http::header::ACCEPT;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;

use super::{AUDIT_ID, Inner};
use crate::diff::{Answer, Comparison, Side, Write};
use crate::gate::{Compared, Subject};

/// How long a write may be held up by this.
const DEADLINE: Duration = Duration::from_secs(5);

impl Inner {
    /// Begins the comparison that `compared` describes. Boxed, so that the compiler sees once and here that it is `Send`.
    pub(super) fn compare<'a>(&'a self, compared: Compared, id: &'a RequestId) -> BoxFuture<'a, Comparison> {
        Box::pin(self.begin(compared, id))
    }

    async fn begin(&self, compared: Compared, id: &RequestId) -> Comparison {
        let Compared { write, secret, read } = compared;
        let before = match (write, read) {
            (Write::Create, _) => Side::Absent,
            (_, None) => Side::Unknown("the caller may not read the object".to_owned()),
            (_, Some((path, subject))) => {
                let late = |_| Side::Unknown(format!("reading it took longer than {} s", DEADLINE.as_secs()));
                tokio::time::timeout(DEADLINE, self.before(&path, &subject, id)).await.unwrap_or_else(late)
            }
        };
        Comparison::new(write, secret, before)
    }

    async fn before(&self, path: &str, subject: &Subject, id: &RequestId) -> Side {
        let mut request = Request::get(path).header(ACCEPT, "application/json");
        if let Ok(mut id) = HeaderValue::from_str(id.as_str()) {
            id.set_sensitive(true);
            request = request.header(AUDIT_ID, id);
        }
        let Ok(request) = request.body(empty()) else { return Side::Unknown("its path cannot be read".to_owned()) };
        let response = match self.ask(request, subject).await {
            Ok(response) => response,
            Err(error) => return Side::Unknown(format!("it could not be read: {error}")),
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Side::Absent,
            StatusCode::FORBIDDEN => return Side::Unknown("the cluster does not let the caller read it".to_owned()),
            status => return Side::Unknown(format!("reading it was answered with {}", status.as_u16())),
        }
        let mut answer = Answer::new(response.headers());
        let mut body = response.into_body();
        // What is too large is let go here, and with it the stream.
        while answer.is_readable()
            && let Some(frame) = body.frame().await
        {
            match frame {
                Ok(frame) => answer.push(frame.data_ref().map_or(&[], |piece| piece)),
                Err(_) => return Side::Unknown("its answer broke off".to_owned()),
            }
        }
        answer.object()
    }
}
