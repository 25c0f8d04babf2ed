//! A broker that does what the topic's name says.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::net::service::{
    Answer, Conversation, Feed, Health, KafkaPending, Next, NextData, Payload, Pending, Piece,
    Service, Session,
};
use crate::protocol::error::ErrorCode;
use crate::protocol::native::message::request::Operation;
use crate::protocol::native::message::{
    Error, MetadataResult, ProduceResult, Request, Response, ServerHello, Subscribe,
};
use crate::telemetry::Reason;

/// Credit of every stream.
pub(super) const CREDIT_BYTES: u32 = 100;

/// Payload of the answers of the topic `bulky`.
pub(super) const BULKY_BYTES: usize = 64 * 1024;

/// Topics and what they do:
/// * `ready`: answered at once
/// * `later`: answered when `release` has a permit
/// * `never`: never answered
/// * `bulky`: answered at once with `BULKY_BYTES`
/// * `pieces`: a fetch is answered with `pieces`
/// * `throttled`: answered at once, with a throttle of a second
pub(super) struct Fake {
    pub(super) release: Arc<Semaphore>,
    pub(super) pieces: Mutex<Vec<Piece>>,
    /// Payloads of produce requests in the order of their start.
    pub(super) produced: Mutex<Vec<Bytes>>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) waiting_max: AtomicUsize,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            release: Arc::new(Semaphore::new(0)),
            pieces: Mutex::default(),
            produced: Mutex::default(),
            waiting: Arc::default(),
            waiting_max: AtomicUsize::new(0),
        }
    }
}

/// Counts something while it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Fake {
    fn counted(&self) -> Counted {
        let now = self.waiting.fetch_add(1, SeqCst) + 1;
        self.waiting_max.fetch_max(now, SeqCst);
        Counted(Arc::clone(&self.waiting))
    }

    fn answer(&self, topic: &str, answer: Answer) -> Pending {
        let counted = self.counted();
        let release = Arc::clone(&self.release);
        match topic {
            "ready" | "pieces" => Pending::Ready(answer),
            "bulky" => {
                let payload = Bytes::from_static(&[0; BULKY_BYTES]).into();
                Pending::Ready(Answer { payload, ..answer })
            }
            "throttled" => {
                let response = Response { throttle_ms: 1_000, ..answer.response };
                Pending::Ready(Answer::of(response))
            }
            "later" => Pending::Later(Box::pin(async move {
                let _counted = counted;
                release.acquire().await.expect("open").forget();
                answer
            })),
            "never" => Pending::Later(Box::pin(async move {
                let _counted = counted;
                std::future::pending().await
            })),
            other => panic!("{other} is no topic of the fake"),
        }
    }
}

impl Service for Fake {
    fn hello(&self) -> ServerHello {
        ServerHello { credit_bytes: CREDIT_BYTES, ..ServerHello::default() }
    }

    fn call(self: &Arc<Self>, _: &Session, request: Request, payload: Bytes) -> Pending {
        match request.operation {
            Some(Operation::Metadata(_)) => {
                let result = MetadataResult { cluster_id: "fake".into(), ..Default::default() };
                Pending::Ready(Answer::of(Response {
                    result: Some(result.into()),
                    ..Response::default()
                }))
            }
            Some(Operation::Produce(produce)) => {
                self.produced.lock().expect("lock").push(payload);
                let result = Some(ProduceResult::default().into());
                let answer = Answer::of(Response { result, ..Response::default() });
                self.answer(&produce.partitions[0].topic, answer)
            }
            Some(Operation::Fetch(fetch)) => {
                let pieces = std::mem::take(&mut *self.pieces.lock().expect("lock"));
                let payload = pieces.into_iter().collect();
                let answer = Answer { response: Response::default(), payload };
                self.answer(&fetch.partitions[0].topic, answer)
            }
            _ => Pending::Ready(Answer::failed(Error::new(ErrorCode::InvalidRequest, "what?"))),
        }
    }

    /// `endless` yields frames of the size asked for, numbered by their first byte; `quiet` yields
    /// nothing; `short` yields one frame and ends.
    fn subscribe(
        self: &Arc<Self>,
        _: &Session,
        subscribe: Subscribe,
    ) -> Result<Box<dyn Feed>, Error> {
        let topic = subscribe.partitions[0].topic.clone();
        if topic == "refused" {
            return Err(Error::new(ErrorCode::UnknownTopicOrPartition, "no such topic"));
        }
        let size = subscribe.frame_bytes as usize;
        Ok(Box::new(Numbers { topic, next: 0, size, _counted: self.counted() }))
    }

    fn kafka(
        self: &Arc<Self>,
        _session: &Session,
        _conversation: &mut Conversation,
        _frame: Bytes,
    ) -> KafkaPending {
        unreachable!("these tests speak the native protocol")
    }

    fn kafka_refusal(
        self: &Arc<Self>,
        _frame: Bytes,
        _reason: Reason,
        _code: ErrorCode,
        _message: &str,
    ) -> KafkaPending {
        unreachable!("these tests speak the native protocol")
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    async fn metrics(self: &Arc<Self>) -> String {
        "rivven_fake 1\n".to_owned()
    }
}

struct Numbers {
    topic: String,
    next: u8,
    size: usize,
    _counted: Counted,
}

impl Feed for Numbers {
    fn next(mut self: Box<Self>, credit_bytes: u32) -> NextData {
        assert!(credit_bytes > 0, "a feed is asked only with credit");
        Box::pin(async move {
            match self.topic.as_str() {
                "quiet" => std::future::pending().await,
                "short" if self.next > 0 => Next::End(None),
                _ => {
                    let payload = Payload::from(Bytes::from(vec![self.next; self.size]));
                    self.next = self.next.wrapping_add(1);
                    Next::Data(self, Answer { response: Response::default(), payload })
                }
            }
        })
    }
}
