//! The HTTP front: its own accept loop, because axum's arms no time-out for request heads, and the
//! routes. Knows of the broker what [`Service`] says.
//!
//! Health and metrics are what there is so far. Bodies are not read by any of these routes: a
//! declared length above the bound is refused, and what was not read closes the connection.

mod problem;
mod stall;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use self::problem::Problem;
use self::stall::WriteDeadline;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_MS_MAX};
use crate::net::listener::{Acceptor, accept};
use crate::net::service::{Health, Peer, Service, Session};
use crate::net::{Edge, PROTECTED_MODE, Socket};
use crate::protocol::error::ErrorCode;
use crate::telemetry::{Listener, Reason};

/// Serves HTTP on a port until the edge is stopped; the task ends when its last connection has.
pub fn serve<S: Service>(edge: &Arc<Edge<S>>, port: TcpListener) -> JoinHandle<()> {
    let routes = routes(Arc::clone(edge.service()));
    let connection = move |edge, listener, socket, session| {
        serve_connection(edge, listener, socket, session, routes.clone())
    };
    tokio::spawn(accept(Arc::clone(edge), Listener::Http, Acceptor::Tcp(port), connection))
}

fn routes<S: Service>(service: Arc<S>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready::<S>))
        .route("/metrics", get(metrics::<S>))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(service)
        .layer(from_fn(guard))
}

/// What holds for every route: bodies have a bound that is checked before anything reads them, and
/// answers are neither kept nor guessed at.
async fn guard(request: Request, next: Next) -> Response {
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = declared.and_then(|length| length.parse().ok()).unwrap_or(0_u64);
    let mut response = if length > HTTP_BODY_BYTES_MAX as u64 {
        let detail =
            format!("a body of {length} bytes; at most {HTTP_BODY_BYTES_MAX} are accepted");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::FrameTooLarge, detail)
            .into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn live() -> &'static str {
    "alive\n"
}

async fn ready<S: Service>(State(service): State<Arc<S>>) -> Response {
    let (status, body) = match service.health() {
        Health::Ready => (StatusCode::OK, serde_json::json!({ "status": "ready" })),
        Health::Recovering(progress) => {
            let body = serde_json::json!({ "status": "recovering", "recovery": progress });
            (StatusCode::SERVICE_UNAVAILABLE, body)
        }
        Health::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "status": "stopping" }))
        }
    };
    (status, axum::Json(body)).into_response()
}

async fn metrics<S: Service>(State(service): State<Arc<S>>) -> Response {
    const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, FORMAT)], service.metrics().await).into_response()
}

async fn not_found() -> Problem {
    let detail = "there is nothing at this path";
    Problem::new(StatusCode::NOT_FOUND, ErrorCode::InvalidRequest, detail)
}

async fn method_not_allowed() -> Problem {
    let detail = "this path does not have this method; the Allow header says which it has";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidRequest, detail)
}

async fn refuse_other_machines() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, ErrorCode::ProtectedMode, PROTECTED_MODE)
}

/// Serves one connection that has been let in.
async fn serve_connection<S: Service>(
    edge: Arc<Edge<S>>,
    listener: Listener,
    socket: Socket,
    session: Session,
    routes: Router,
) {
    let _open = edge.opened(listener);
    let routes = if edge.admits(&session.peer) {
        let (edge, peer) = (Arc::clone(&edge), session.peer);
        routes.layer(map_response(move |response: Response| {
            count(&edge, listener, &peer, response.status());
            std::future::ready(response)
        }))
    } else {
        edge.reject(listener, Reason::ProtectedMode, &session.peer, PROTECTED_MODE);
        Router::new().fallback(refuse_other_machines)
    };
    let ended = match socket {
        Socket::Tcp(stream) => drive(&edge, stream, routes).await,
        Socket::Unix(stream) => drive(&edge, stream, routes).await,
    };
    match ended {
        Ok(()) => {}
        Err(error) if error.is_parse() => {
            edge.reject(listener, Reason::Malformed, &session.peer, error);
        }
        // A client that breaks off is its own matter.
        Err(error) => tracing::debug!("an HTTP connection ended early: {error}"),
    }
}

/// Counts an answer that turns its request away.
fn count<S: Service>(edge: &Edge<S>, listener: Listener, peer: &Peer, status: StatusCode) {
    if !status.is_client_error() {
        return;
    }
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Reason::MessageTooLarge,
        _ => Reason::InvalidRequest,
    };
    edge.reject(listener, reason, peer, status);
}

async fn drive<S: Service>(
    edge: &Edge<S>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    routes: Router,
) -> hyper::Result<()> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HTTP_HEAD_MS_MAX))
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .serve_connection(
            TokioIo::new(WriteDeadline::new(stream)),
            TowerToHyperService::new(routes),
        );
    let mut connection = pin!(connection);
    let deadline = tokio::select! {
        ended = connection.as_mut() => return ended,
        deadline = edge.stopping().wait() => deadline,
    };
    connection.as_mut().graceful_shutdown();
    timeout_at(deadline, connection).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests;
