//! What a request asks of a Kubernetes API server: verb, group, version, resource, subresource, namespace
//! and name, read from method and target exactly as the API server reads them
//! (`RequestInfoFactory` of `k8s.io/apiserver`, v0.34).
//!
//! Policy and audit judge by this reading, the cluster acts by its own. Any difference between the two would
//! be a way around the policy, so there is none: every line is either read as the API server reads it or
//! [`Refused`] before it is read. `tests/request_info.rs` holds both to the API server's own answers.
//!
//! Must not know: policy, clusters, HTTP bodies or headers.

mod path;
mod query;
mod selector;

pub(crate) use query::pairs;
use serde::Serialize;
use thiserror::Error;

/// The longest target (path and query together) that is read, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;

/// A request as the API server understands it. Empty strings mean "none".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about an object, or a collection of them, rather than a bare path such as `/version`.
    pub is_resource_request: bool,
    /// The path, percent-decoded. Bytes behind `/proxy` that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for a bare path the
    /// method in lower case.
    pub verb: &'static str,
    /// `api`, `apis` or none.
    pub api_prefix: &'static str,
    /// API group; none for the core group.
    pub api_group: String,
    /// API version.
    pub api_version: String,
    /// Namespace. A namespace object itself is in the namespace that it is.
    pub namespace: String,
    /// Resource in the plural.
    pub resource: String,
    /// Subresource, for example `log` of `pods/log`.
    pub subresource: String,
    /// Object name, from the path or from a field selector that allows only one.
    pub name: String,
    /// Where in `path` the resource begins, for [`RequestInfo::parts`].
    parts_at: usize,
}

impl RequestInfo {
    /// The segments of the path from the resource on; nothing for a bare path.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let parts = self.is_resource_request.then(|| self.path.get(self.parts_at..)).flatten();
        parts.into_iter().flat_map(|rest| rest.trim_end_matches('/').split('/'))
    }
}

/// Why a request is not read at all. Ordinary clients send none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Longer than [`MAX_TARGET`].
    #[error("the path and query are longer than 8192 bytes; shorten the request")]
    TooLong,
    /// Not one of the six methods of the Kubernetes API (`OPTIONS` included: it has no verb there).
    #[error("the method is not one of GET, HEAD, POST, PUT, PATCH and DELETE")]
    Method,
    /// An absolute or authority-form target, or none.
    #[error("the request target does not begin with '/'")]
    NotAPath,
    /// Raw control characters, spaces or `#` in the target, or encoded control characters in its path.
    #[error("the path holds a control character, a space or '#'; send it percent-encoded where a name needs it")]
    Character,
    /// `%` without two hexadecimal digits in the path.
    #[error("the path holds a '%' that is not followed by two hexadecimal digits")]
    Escape,
    /// A path, or a name in a field selector, whose decoded bytes are not UTF-8.
    #[error("the path or the name in the field selector is not valid UTF-8")]
    Utf8,
    /// `.` or `..` as a path segment, however it is encoded.
    #[error("the path holds the segment '.' or '..'; send the path that is meant")]
    DotSegment,
    /// `//` outside what follows `/proxy`.
    #[error("the path holds an empty segment ('//'); send the path that is meant")]
    EmptySegment,
    /// `/` or `\` inside a segment, encoded or (`\`) not, outside what follows `/proxy`.
    #[error("the path holds an encoded slash or a backslash outside of what follows /proxy")]
    EncodedSlash,
    /// `/api/v1/watch/...` and `/api/v1/proxy/...`.
    #[error(
        "paths that begin with a verb (/watch/, /proxy/) are deprecated and not served; use ?watch=1 or the proxy subresource"
    )]
    VerbPrefix,
}

impl Refused {
    /// The HTTP status that says it best.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TooLong => 414,
            Self::Method => 405,
            _ => 400,
        }
    }
}

/// Reads a request line. `target` is path and query as they came, not decoded.
///
/// # Errors
/// Refuses what no ordinary client sends and what intermediaries read in different ways.
pub fn classify(method: &str, target: &str) -> Result<RequestInfo, Refused> {
    let method = Method::parse(method)?;
    let (path, query) = split_target(target)?;
    let path = path::read(path)?;
    let Some(layout) = path.layout()? else {
        return Ok(bare(method, path));
    };
    let part = |index: usize| path.segment(layout.resource + index).to_owned();
    let mut info = RequestInfo {
        is_resource_request: true,
        verb: method.resource_verb(),
        api_prefix: layout.prefix,
        api_group: layout.group.map(|index| path.segment(index).to_owned()).unwrap_or_default(),
        api_version: path.segment(layout.version).to_owned(),
        namespace: layout.namespace.map(|index| path.segment(index).to_owned()).unwrap_or_default(),
        resource: part(0),
        name: part(1),
        subresource: part(2),
        parts_at: path.offset(layout.resource),
        path: String::new(),
    };
    info.path = path.into_decoded();
    if info.name.is_empty() {
        name_from_query(&mut info, query)?;
    }
    Ok(info)
}

/// Without a name in the path, `get` and `delete` are about a collection, and the query says more.
fn name_from_query(info: &mut RequestInfo, query: &str) -> Result<(), Refused> {
    match info.verb {
        "get" => {
            let options = query::ListOptions::read(query);
            info.verb = if options.watch { "watch" } else { "list" };
            if let Some(name) = options.name {
                info.name = String::from_utf8(name).map_err(|_| Refused::Utf8)?;
            }
        }
        "delete" => info.verb = "deletecollection",
        _ => {}
    }
    Ok(())
}

fn bare(method: Method, path: path::Path<'_>) -> RequestInfo {
    // The API server fills in the prefix before it finds that too little follows it.
    let api_prefix = path.prefix_of_bare();
    RequestInfo {
        is_resource_request: false,
        path: path.into_decoded(),
        verb: method.bare_verb(),
        api_prefix,
        api_group: String::new(),
        api_version: String::new(),
        namespace: String::new(),
        resource: String::new(),
        subresource: String::new(),
        name: String::new(),
        parts_at: 0,
    }
}

fn split_target(target: &str) -> Result<(&str, &str), Refused> {
    if target.len() > MAX_TARGET {
        return Err(Refused::TooLong);
    }
    if !target.starts_with('/') {
        return Err(Refused::NotAPath);
    }
    if target.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
        return Err(Refused::Character);
    }
    Ok(target.split_once('?').unwrap_or((target, "")))
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    fn parse(word: &str) -> Result<Self, Refused> {
        Ok(match word {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => return Err(Refused::Method),
        })
    }

    fn resource_verb(self) -> &'static str {
        match self {
            Self::Get | Self::Head => "get",
            Self::Post => "create",
            Self::Put => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    fn bare_verb(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Reads `METHOD TARGET` and says what [`classify`] makes of it, as one line of JSON with the keys of the vectors
/// file, or `{"refused": reason}`.
#[must_use]
pub fn classify_line(line: &str) -> String {
    let (method, target) = line.split_once(' ').unwrap_or((line, ""));
    let json = match classify(method, target) {
        Ok(info) => serde_json::to_string(&Answer::new(method, target, &info)),
        Err(refused) => serde_json::to_string(&serde_json::json!({ "refused": refused.to_string() })),
    };
    // Neither shape can fail to become JSON: string keys only, no floats.
    json.unwrap_or_default()
}

/// The vectors file's line: same keys, same order, same omissions.
#[derive(Serialize)]
struct Answer<'a> {
    method: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    is_resource_request: bool,
    verb: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_prefix: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<&'a str>,
}

impl<'a> Answer<'a> {
    fn new(method: &'a str, target: &'a str, info: &'a RequestInfo) -> Self {
        Self {
            method,
            target,
            path: &info.path,
            is_resource_request: info.is_resource_request,
            verb: info.verb,
            api_prefix: info.api_prefix,
            api_group: &info.api_group,
            api_version: &info.api_version,
            namespace: &info.namespace,
            resource: &info.resource,
            subresource: &info.subresource,
            name: &info.name,
            parts: info.parts().collect(),
        }
    }
}
