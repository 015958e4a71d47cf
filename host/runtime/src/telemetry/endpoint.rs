//! Serves figures over HTTP: `GET /metrics`, and nothing else.
//!
//! Runs on the runtime of the control thread. A client can neither slow the job down nor hold more
//! than one of a few connections for long.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::metrics::JobMetrics;

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// A client that takes longer for its request or for our answer is cut off.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Pause after a failed accept: the usual cause, no free file descriptors, does not pass by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address that serves figures once it is run.
pub struct MetricsEndpoint {
    listener: TcpListener,
}

impl MetricsEndpoint {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken, not ours or not allowed.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the runtime goes away.
    ///
    /// # Errors
    /// The listener cannot be used from this runtime.
    pub async fn serve(self, metrics: Arc<JobMetrics>) -> io::Result<Infallible> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = Arc::clone(&free).acquire_owned().await;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "A connection to the metrics address failed.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let response = respond(&request, &metrics);
                    async { Ok::<_, Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(CONNECTION_TIME)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // What goes wrong here is the client's affair.
                let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
                drop(slot);
            });
        }
    }
}

fn respond(request: &Request<Incoming>, metrics: &JobMetrics) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match (request.uri().path(), is_read) {
        ("/metrics", true) => {
            let mut response = Response::new(Full::new(metrics.render().into()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
            response
        }
        ("/metrics", false) => {
            let mut response = status(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        _ => status(StatusCode::NOT_FOUND, "metrics are at /metrics\n"),
    }
}

fn status(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::telemetry::JobFigures;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn figures_are_served_and_nothing_else() {
        let endpoint = MetricsEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.address().unwrap();
        let metrics = Arc::new(JobMetrics::new(|| vec![JobFigures::default()], Arc::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let serving = runtime.spawn(endpoint.serve(metrics));
        let asking = std::thread::spawn(move || {
            ["GET /metrics", "HEAD /metrics", "POST /metrics", "GET /"]
                .map(|line| ask(address, line))
        });
        runtime.block_on(async {
            while !asking.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let [get, head, post, root] = asking.join().unwrap();
        assert!(
            get.starts_with("HTTP/1.1 200") && get.contains("tidemill_job_records_in_total"),
            "{get}"
        );
        assert!(get.contains("openmetrics-text"), "{get}");
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("tidemill_job"), "{head}");
        assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"), "{post}");
        assert!(root.starts_with("HTTP/1.1 404"), "{root}");
        assert!(!serving.is_finished());
    }

    #[test]
    fn an_address_that_is_taken_is_refused() {
        let first = MetricsEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = MetricsEndpoint::bind(first.address().unwrap());
        assert_eq!(second.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }
}
