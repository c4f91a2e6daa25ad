//! The object in an answer of the API server, if it is one that can be compared.
//!
//! Must not know: what it is compared with.

use std::io::Read;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;

use super::{MAX_OBJECT, Side};

/// What an answer has brought so far.
pub(crate) struct Answer {
    body: Vec<u8>,
    gzip: bool,
    /// Why it cannot be compared.
    useless: Option<String>,
}

impl Answer {
    /// Of an answer with these headers.
    pub(crate) fn new(head: &HeaderMap) -> Self {
        let text = |name| head.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        let encoding = text(CONTENT_ENCODING);
        let useless = if !kind.eq_ignore_ascii_case("application/json") {
            Some(format!("the caller asked for {}, only JSON is compared", shown(kind)))
        } else if !matches!(encoding, "" | "identity" | "gzip") {
            Some(format!("the answer is encoded as {}", shown(encoding)))
        } else {
            None
        };
        Self { body: Vec::new(), gzip: encoding == "gzip", useless }
    }

    /// Takes a piece of the body. What is beyond the bound is let go, and so is all that was kept.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if self.useless.is_some() {
            return;
        }
        if self.body.len() + piece.len() > MAX_OBJECT {
            self.body = Vec::new();
            self.useless = Some(too_large());
            return;
        }
        self.body.extend_from_slice(piece);
    }

    /// Whether there is anything in reading on.
    pub(crate) fn is_readable(&self) -> bool {
        self.useless.is_none()
    }

    /// The object.
    pub(crate) fn object(self) -> Side {
        if let Some(why) = self.useless {
            return Side::Unknown(why);
        }
        let body = if self.gzip { inflated(&self.body) } else { Ok(self.body) };
        let value = match body {
            Ok(body) => serde_json::from_slice::<Value>(&body),
            Err(why) => return Side::Unknown(why),
        };
        match value {
            Ok(Value::Object(object)) => of_kind(object),
            _ => Side::Unknown("the answer is no object".to_owned()),
        }
    }
}

/// Other forms of an object (`as=Table`, `as=PartialObjectMetadata`) and `Status` are not it.
fn of_kind(object: serde_json::Map<String, Value>) -> Side {
    match object.get("kind").and_then(Value::as_str) {
        Some(kind @ ("Table" | "PartialObjectMetadata" | "Status")) => {
            Side::Unknown(format!("the answer is a {kind} instead of the object"))
        }
        _ => Side::Object(Value::Object(object)),
    }
}

fn inflated(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let limit = MAX_OBJECT as u64 + 1;
    let read = flate2::read::GzDecoder::new(body).take(limit).read_to_end(&mut plain);
    match read {
        Ok(length) if length <= MAX_OBJECT => Ok(plain),
        Ok(_) => Err(too_large()),
        Err(_) => Err("the answer's compression cannot be read".to_owned()),
    }
}

fn too_large() -> String {
    format!("the object is too large (over {} KiB)", MAX_OBJECT / 1024)
}

/// A header's value in a row: short and printable.
fn shown(text: &str) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text.chars().filter(|c| !c.is_control()).take(80).collect() }
}
