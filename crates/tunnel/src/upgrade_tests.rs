//! Tests of `upgrade`: both ends of an upgrade, in memory.

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn upgrade_request() -> Request<Body> {
    Request::post("/api/v1/namespaces/a/pods/b/exec?command=%2Fbin%2Fsh")
        .header("Connection", "keep-alive, UPGRADE")
        .header("Upgrade", "SPDY/3.1")
        .header("Content-Length", "0")
        .header("Keep-Alive", "timeout=5")
        .header("X-Stream-Protocol-Version", "v4.channel.k8s.io")
        .body(body::full("dropped"))
        .unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

/// The request as the agent gets it, `:protocol` included.
fn through(request: Request<Body>) -> Request<Body> {
    let mut request = request;
    *request.version_mut() = Version::HTTP_2;
    request
}

#[test]
fn an_upgrade_needs_both_headers() {
    let both = headers(&[("connection", "close"), ("connection", "x, Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(token(&both).unwrap(), "websocket");
    for none in [
        headers(&[]),
        headers(&[("upgrade", "websocket")]),
        headers(&[("connection", "upgrade")]),
        headers(&[("connection", "upgraded"), ("upgrade", "websocket")]),
        headers(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")]),
    ] {
        assert_eq!(token(&none), None, "{none:?}");
    }
}

#[tokio::test]
async fn an_upgrade_becomes_a_connect_and_comes_back_the_same() {
    let connect = to_connect(upgrade_request());
    assert_eq!(connect.method(), Method::CONNECT);
    assert_eq!(connect.headers()[METHOD_HEADER], "POST");
    for gone in ["content-length", "connection", "upgrade", "keep-alive", "transfer-encoding"] {
        assert!(!connect.headers().contains_key(gone), "{gone}");
    }

    let stands_for = from_connect(&through(connect)).unwrap();
    assert_eq!(stands_for.method, Method::POST);
    assert_eq!(stands_for.protocol, "SPDY/3.1");

    let back = to_http1(through(to_connect(upgrade_request())));
    assert_eq!(back.method(), Method::POST);
    assert_eq!(back.uri(), upgrade_request().uri());
    assert_eq!(back.headers()["connection"], "Upgrade");
    assert_eq!(back.headers()["upgrade"], "SPDY/3.1");
    assert_eq!(back.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    assert!(!back.headers().contains_key(METHOD_HEADER));
    assert!(back.extensions().get::<Protocol>().is_none());
    assert_eq!(back.into_body().collect().await.unwrap().to_bytes(), "");
}

#[test]
fn a_caller_cannot_choose_the_method_behind_an_upgrade() {
    let mut request = upgrade_request();
    request.headers_mut().insert(METHOD_HEADER, HeaderValue::from_static("DELETE"));
    let connect = to_connect(request);
    assert_eq!(connect.headers().get_all(METHOD_HEADER).iter().count(), 1);
    assert_eq!(from_connect(&connect).unwrap().method, Method::POST);
}

#[test]
fn ordinary_requests_and_answers_pass_untouched() {
    let get = to_connect(Request::get("/version").body(body::empty()).unwrap());
    assert_eq!(get.method(), Method::GET);
    assert!(from_connect(&get).is_none());
    let answer = to_switching_protocols(Response::new(body::empty()));
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key(UPGRADE));
}

#[test]
fn connect_without_protocol_is_no_upgrade() {
    let request = Request::connect("example:80").body(body::empty()).unwrap();
    assert!(from_connect(&request).is_none());
}

fn answered(upstream: Response<Body>) -> Response<Body> {
    let mut response = to_connect_response(upstream);
    response.extensions_mut().insert(Requested(HeaderValue::from_static("websocket")));
    response
}

#[test]
fn a_101_travels_as_200_and_comes_back_with_its_headers() {
    let upstream = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        .header("content-length", "0")
        .body(body::empty())
        .unwrap();
    let on_the_wire = answered(upstream);
    assert_eq!(on_the_wire.status(), StatusCode::OK);
    assert!(!on_the_wire.headers().contains_key("content-length"));
    assert!(!on_the_wire.headers().contains_key("upgrade"));

    let response = to_switching_protocols(on_the_wire);
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["connection"], "Upgrade");
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn an_answer_that_ignores_the_upgrade_keeps_its_status() {
    for status in [200, 201, 204, 299, 301, 403, 500] {
        let upstream = Response::builder().status(status).body(body::empty()).unwrap();
        let on_the_wire = answered(upstream);
        assert!(!on_the_wire.status().is_success(), "{status} would open the stream");
        let response = to_switching_protocols(on_the_wire);
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key(STATUS_HEADER));
        assert!(!response.headers().contains_key(UPGRADE));
    }
}

#[test]
fn hop_by_hop_headers_go_and_the_rest_stays() {
    let mut map = headers(&[
        ("connection", "close, X-Hop"),
        ("connection", "x-other"),
        ("x-hop", "1"),
        ("x-other", "1"),
        ("keep-alive", "1"),
        ("proxy-authorization", "Basic x"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers, deflate"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("trailer", "x-sum"),
        ("accept", "*/*"),
    ]);
    hop_by_hop_stripped(&mut map);
    assert_eq!(map, headers(&[("te", "trailers"), ("trailer", "x-sum"), ("accept", "*/*")]));
}

#[tokio::test]
async fn a_splice_passes_half_closes_on_and_counts() {
    let (mut left, a) = tokio::io::duplex(64);
    let (mut right, b) = tokio::io::duplex(64);
    let spliced = tokio::spawn(splice(a, b));
    left.write_all(b"question").await.unwrap();
    left.shutdown().await.unwrap();
    let mut question = String::new();
    right.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    // The other direction is still open.
    right.write_all(b"a long answer").await.unwrap();
    drop(right);
    let mut answer = String::new();
    left.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "a long answer");
    assert_eq!(spliced.await.unwrap().unwrap(), Transferred { sent: 8, received: 13 });
}

/// An end whose reads fail, as those of a TLS stream without `close_notify` do.
struct Failing(io::ErrorKind);

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.0.into()))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_ordinary_end() {
    let (mut far, b) = tokio::io::duplex(64);
    far.write_all(b"last words").await.unwrap();
    drop(far);
    let ended = splice(Failing(io::ErrorKind::UnexpectedEof), b).await;
    assert_eq!(ended.unwrap(), Transferred { sent: 0, received: 10 });
}

#[tokio::test]
async fn other_errors_of_a_splice_are_errors() {
    let (_far, b) = tokio::io::duplex(64);
    let ended = splice(Failing(io::ErrorKind::InvalidData), b).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData);
}
