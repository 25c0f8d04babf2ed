//! One connection to a server: takes commands, writes frames, reads frames, hands out answers. One
//! task owns it all, so nothing here is shared; [`super::link`] makes the next one when it ends.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::buffer::{Frame, Incoming, Outgoing, SLICES_MAX};
use super::command::{Call, CallId, Command, Reply};
use super::error::ClientError;
use super::stranger;
use crate::protocol::native::credit::Credit;
use crate::protocol::native::frame::{self, FrameHeader, Kind, Preface, StreamId};
use crate::protocol::native::message::{self, Response, ServerHello, response};

/// Bytes that wait for the socket before no more commands are taken.
const OUTGOING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a server that said it goes away may take to finish what is under way.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// What a connection runs over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Who waits on a stream.
#[derive(Debug)]
struct Stream {
    call: CallId,
    /// `None` once cancelled: the stream stays taken until the server ends it.
    reply: Option<Reply>,
    /// What the server may still send; only subscriptions use it.
    credit: Credit,
}

/// Why a connection stopped.
pub(super) enum End {
    /// Every handle of the client is gone.
    Unused,
    /// It broke, or the server said goodbye.
    Broken(ClientError),
}

/// An open connection.
pub(super) struct Connection {
    target: String,
    transport: Box<dyn Transport>,
    hello: Arc<ServerHello>,
    incoming: Incoming,
    outgoing: Outgoing,
    streams: BTreeMap<u32, Stream>,
    last_stream: u32,
    /// Set by GO_AWAY: no new streams, and when patience ends.
    draining: Option<Instant>,
    keep_alive: Duration,
    heard: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Connection {
    /// Exchanges greetings over a fresh transport. The caller bounds the time it may take.
    pub(super) async fn open(
        target: String,
        mut transport: Box<dyn Transport>,
        keep_alive: Duration,
    ) -> Result<Connection, ClientError> {
        let mut incoming = Incoming::default();
        let hello = greet(&target, &mut transport, &mut incoming).await?;
        Ok(Connection {
            target,
            transport,
            hello: Arc::new(hello),
            incoming,
            outgoing: Outgoing::default(),
            streams: BTreeMap::new(),
            last_stream: 0,
            draining: None,
            keep_alive,
            heard: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(keep_alive)),
        })
    }

    /// What the server said of itself.
    pub(super) fn hello(&self) -> Arc<ServerHello> {
        Arc::clone(&self.hello)
    }

    /// Runs until it breaks or nobody can ask anything any more.
    pub(super) async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> End {
        let end = poll_fn(|cx| self.poll(cx, commands)).await;
        if let End::Broken(error) = &end {
            for stream in std::mem::take(&mut self.streams).into_values() {
                if let Some(reply) = stream.reply {
                    reply.give(Err(error.clone()));
                }
            }
        }
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>, commands: &mut mpsc::Receiver<Command>) -> Poll<End> {
        loop {
            let mut progress = self.poll_commands(cx, commands);
            if commands.is_closed() && commands.is_empty() && self.streams.is_empty() {
                return Poll::Ready(End::Unused);
            }
            for step in [Connection::poll_write, Connection::poll_read] {
                match step(self, cx) {
                    Ok(moved) => progress |= moved,
                    Err(error) => return Poll::Ready(End::Broken(error)),
                }
            }
            if self.draining.is_some() && self.streams.is_empty() && self.outgoing.is_empty() {
                return Poll::Ready(End::Broken(self.lost("the server went away")));
            }
            if !progress {
                break;
            }
        }
        match self.poll_alarm(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(End::Broken(error)),
        }
    }

    /// Takes commands while there is room; a full socket thus holds the callers back.
    fn poll_commands(
        &mut self,
        cx: &mut Context<'_>,
        commands: &mut mpsc::Receiver<Command>,
    ) -> bool {
        let mut progress = false;
        while self.draining.is_none() && self.outgoing.len() < OUTGOING_BYTES_MAX {
            let Poll::Ready(Some(command)) = commands.poll_recv(cx) else { break };
            progress = true;
            self.take(command);
        }
        progress
    }

    /// Starts what a command asks for.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Call(call) => self.send(*call),
            Command::Credit(call, bytes) => {
                if let Some((stream, state)) = self.find(call) {
                    state.credit.grant(bytes);
                    frame::put_credit(self.outgoing.end(), stream, bytes);
                }
            }
            Command::Cancel(call) => {
                if let Some((stream, state)) = self.find(call) {
                    state.reply = None;
                    frame::put_cancel(self.outgoing.end(), stream);
                }
            }
        }
    }

    /// A search, because only rare commands need it and answers come by stream.
    fn find(&mut self, call: CallId) -> Option<(StreamId, &mut Stream)> {
        let found = self.streams.iter_mut().find(|(_, stream)| stream.call == call)?;
        found.1.reply.is_some().then_some((StreamId(*found.0), found.1))
    }

    fn send(&mut self, call: Call) {
        let payload_bytes: usize = call.payload.iter().map(Bytes::len).sum();
        let bytes = call.request.encoded_len() + payload_bytes + frame::FRAME_PREFIX_BYTES;
        let limit = (self.hello.frame_bytes_max as usize).min(crate::limits::FRAME_BYTES_MAX);
        if bytes > limit {
            call.reply.give(Err(ClientError::TooLarge { bytes, limit }));
            return;
        }
        let stream = self.free_stream();
        let end = self.outgoing.end();
        frame::put_frame(end, Kind::Request, StreamId(stream), &call.request, payload_bytes);
        call.payload.into_iter().for_each(|piece| self.outgoing.push(piece));
        if self.streams.is_empty() {
            // Silence only counts while something is awaited.
            self.heard = Instant::now();
        }
        let credit = Credit::new(self.hello.credit_bytes);
        self.streams.insert(stream, Stream { call: call.id, reply: Some(call.reply), credit });
    }

    /// The next number that no open stream has. Numbers wrap, and a subscription may live longer
    /// than that takes.
    fn free_stream(&mut self) -> u32 {
        loop {
            self.last_stream = self.last_stream.wrapping_add(1).max(1);
            if !self.streams.contains_key(&self.last_stream) {
                return self.last_stream;
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        let mut progress = false;
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.outgoing.slices(&mut slices);
            let written =
                match Pin::new(&mut self.transport).poll_write_vectored(cx, &slices[..count]) {
                    Poll::Ready(Ok(0)) => return Err(self.lost("it takes no more bytes")),
                    Poll::Ready(Ok(written)) => written,
                    Poll::Ready(Err(error)) => return Err(self.broken(&error)),
                    Poll::Pending => break,
                };
            self.outgoing.advance(written);
            progress = true;
        }
        Ok(progress)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        let read = {
            // Dropped and made anew at each poll: the read itself either happens or does not.
            let read = pin!(self.transport.read_buf(self.incoming.room()));
            read.poll(cx)
        };
        match read {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => return Err(self.lost("the server closed it")),
            Poll::Ready(Ok(_)) => self.heard = Instant::now(),
            Poll::Ready(Err(error)) => return Err(self.broken(&error)),
        }
        loop {
            match self.incoming.next_frame() {
                Ok(Some(frame)) => self.receive(frame)?,
                Ok(None) => return Ok(true),
                Err(error) => return Err(self.confused(error.to_string())),
            }
        }
    }

    fn receive(&mut self, frame: Frame) -> Result<(), ClientError> {
        let kind = frame.fixed.kind;
        match kind {
            Kind::Response | Kind::End => self.finish(frame),
            Kind::Data => self.deliver(frame),
            Kind::Ping => {
                let mut payload = [0; frame::PING_BYTES];
                payload.copy_from_slice(&frame.payload);
                frame::put_pong(self.outgoing.end(), payload);
                Ok(())
            }
            Kind::Pong => Ok(()),
            Kind::GoAway => {
                self.go_away(&decode(&self.target, frame.header)?);
                Ok(())
            }
            Kind::Error => Err(ClientError::server(decode(&self.target, frame.header)?)),
            Kind::Hello | Kind::Request | Kind::Credit | Kind::Cancel => {
                Err(self.confused(format!("a {} frame from a server", kind.name())))
            }
        }
    }

    /// Ends a stream with its answer.
    fn finish(&mut self, frame: Frame) -> Result<(), ClientError> {
        let Frame { fixed, header, payload } = frame;
        // Decoded first: a header that is none fails this call with all the others.
        let response: Response = decode(&self.target, header)?;
        let Some(stream) = self.streams.remove(&fixed.stream.0) else {
            return self.stray(&fixed);
        };
        if let Some(reply) = stream.reply {
            reply.give(match response.error {
                Some(error) => Err(ClientError::server(error)),
                None => Ok((response, payload)),
            });
        }
        Ok(())
    }

    /// Hands a piece to its subscription. Credit bounds the bytes that wait there, the queue's
    /// capacity the pieces.
    fn deliver(&mut self, frame: Frame) -> Result<(), ClientError> {
        let Frame { fixed, header, payload } = frame;
        let stream = fixed.stream;
        let Some(state) = self.streams.get_mut(&stream.0) else {
            return self.stray(&fixed);
        };
        if !state.credit.is_open() && !payload.is_empty() {
            return Err(self.confused(format!("data beyond the credit of stream {stream}")));
        }
        state.credit.spend(payload.len());
        let events = match &state.reply {
            Some(Reply::Stream(events)) => events,
            Some(_) => {
                return Err(self.confused(format!("data on stream {stream}, no subscription")));
            }
            None => return Ok(()),
        };
        let response: Response = decode(&self.target, header)?;
        let Some(response::Result::Subscribe(data)) = response.result else {
            return Err(self.confused(format!("a DATA frame without data on stream {stream}")));
        };
        if events.try_send(Ok((data.partitions, payload))).is_err() {
            // The subscriber is gone, or so far behind that it has lost its place.
            state.reply = None;
            frame::put_cancel(self.outgoing.end(), stream);
        }
        Ok(())
    }

    /// A frame of a stream that is not open is the server's mistake, but for the subscriptions that
    /// were given up when it said it goes away.
    fn stray(&self, fixed: &FrameHeader) -> Result<(), ClientError> {
        match self.draining {
            Some(_) => Ok(()),
            None => Err(self.confused(format!(
                "a {} frame on stream {}, which is not open",
                fixed.kind.name(),
                fixed.stream
            ))),
        }
    }

    /// Subscriptions move to the next connection at once; answers that are under way are awaited.
    fn go_away(&mut self, reason: &message::Error) {
        self.draining.get_or_insert_with(|| Instant::now() + DRAIN_TIME);
        let error = self.lost(&format!("the server goes away: {}", reason.message));
        self.streams.retain(|_, stream| match stream.reply.take() {
            Some(Reply::Stream(events)) => {
                Reply::Stream(events).give(Err(error.clone()));
                false
            }
            reply => {
                stream.reply = reply;
                stream.reply.is_some()
            }
        });
    }

    /// Asks after a server that keeps silent while something is awaited, and gives it up when it
    /// does not even answer that.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Result<(), ClientError> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.draining.is_some_and(|patience| now >= patience) {
                return Err(self.lost("the server went away"));
            }
            let silent = now.duration_since(self.heard);
            if self.streams.is_empty() || silent < self.keep_alive {
                let next = if silent < self.keep_alive { self.heard } else { now };
                self.alarm.as_mut().reset(next + self.keep_alive);
                continue;
            }
            if silent >= self.keep_alive * 2 {
                return Err(self.lost("the server does not answer pings"));
            }
            frame::put_ping(self.outgoing.end(), *b"rivvend?");
            self.poll_write(cx)?;
            self.alarm.as_mut().reset(now + self.keep_alive);
        }
        Ok(())
    }

    fn lost(&self, reason: &str) -> ClientError {
        ClientError::Disconnected { target: self.target.clone(), reason: reason.to_owned() }
    }

    fn broken(&self, error: &io::Error) -> ClientError {
        self.lost(&error.to_string())
    }

    fn confused(&self, reason: impl Into<String>) -> ClientError {
        protocol(&self.target, reason)
    }
}

/// Sends the preface and reads the server's answer to it.
async fn greet(
    target: &str,
    transport: &mut Box<dyn Transport>,
    incoming: &mut Incoming,
) -> Result<ServerHello, ClientError> {
    use tokio::io::AsyncWriteExt;

    let broken = |error: io::Error| connect_error(target, error);
    transport.write_all(&Preface::OWN.encode()).await.map_err(broken)?;
    let frame = loop {
        if let Some(protocol) = stranger::protocol_of(incoming.bytes()) {
            return Err(ClientError::OtherProtocol { target: target.to_owned(), protocol });
        }
        if let Some(frame) =
            incoming.next_frame().map_err(|error| protocol(target, error.to_string()))?
        {
            break frame;
        }
        if transport.read_buf(incoming.room()).await.map_err(broken)? == 0 {
            let text = "the connection was closed before a greeting";
            return Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
    };
    match frame.fixed.kind {
        Kind::Hello => check_hello(target, decode(target, frame.header)?),
        Kind::Error | Kind::GoAway => Err(ClientError::server(decode(target, frame.header)?)),
        kind => Err(protocol(target, format!("a {} frame as greeting", kind.name()))),
    }
}

fn check_hello(target: &str, hello: ServerHello) -> Result<ServerHello, ClientError> {
    let own = Preface::OWN;
    let (oldest, newest) = (u32::from(own.minor_min), u32::from(own.minor_max));
    if hello.minor_max < oldest || hello.minor_min > newest {
        let (min, max) = (hello.minor_min, hello.minor_max);
        return Err(protocol(target, format!("it speaks 1.{min}–1.{max}, this client 1.{newest}")));
    }
    if !hello.mechanisms.is_empty() {
        let mechanisms = hello.mechanisms.join(", ");
        return Err(ClientError::AuthenticationRequired { target: target.to_owned(), mechanisms });
    }
    Ok(hello)
}

fn decode<M: Message + Default>(target: &str, header: Bytes) -> Result<M, ClientError> {
    M::decode(header).map_err(|error| protocol(target, error.to_string()))
}

/// Nothing was asked yet, so nothing can have been carried out.
pub(super) fn connect_error(target: &str, error: io::Error) -> ClientError {
    ClientError::Connect { target: target.to_owned(), source: Arc::new(error) }
}

fn protocol(target: &str, reason: impl Into<String>) -> ClientError {
    ClientError::Protocol { target: target.to_owned(), reason: reason.into() }
}
