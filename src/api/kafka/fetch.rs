//! Fetch, with the sessions of KIP-227: a client that reads many partitions names them once, and
//! from then on only what changed; the answers leave out partitions without news.
//!
//! A session lives and ends with its connection. Kafka keeps sessions beside the connections, but a
//! client uses a session on one connection only, and one that is told that its session is gone
//! begins a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use super::{Refused, check_epoch, code, find, note, refuse_replica};
use crate::api::Context;
use crate::api::fetch::{self, Bounds, Found, Read, Target};
use crate::limits;
use crate::log::ReadRange;
use crate::protocol::kafka::{ErrorCode, Records, Text};
use crate::protocol::kafka::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, FetchResponse, FetchResponsePartition,
    FetchResponseTopic,
};
use crate::protocol::native::message::Error;
use crate::types::{Offset, TopicId};

/// From this version on topics have ids and no names.
const IDS_FROM: i16 = 13;

/// A session epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;

/// Bounds what all sessions of a node remember, and gives them their ids.
#[derive(Debug, Default)]
pub struct Sessions {
    last_id: AtomicI32,
    partitions: AtomicUsize,
}

/// What a connection remembers of what its client reads.
#[derive(Debug)]
pub struct FetchSession {
    id: i32,
    /// What the next request has to say.
    epoch: i32,
    places: Vec<Place>,
    /// Taken from the node's bound until the session ends.
    share: Share,
}

/// A part of the node's bound.
#[derive(Debug)]
struct Share {
    sessions: Arc<Sessions>,
    partitions: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.sessions.partitions.fetch_sub(self.partitions, Ordering::Relaxed);
    }
}

impl Share {
    /// Takes room for so many partitions instead of those before; `false` when there is too little.
    fn resize(&mut self, partitions: usize) -> bool {
        let all = &self.sessions.partitions;
        all.fetch_sub(self.partitions, Ordering::Relaxed);
        self.partitions = 0;
        if all.fetch_add(partitions, Ordering::Relaxed) + partitions
            > limits::FETCH_SESSION_PARTITIONS_MAX
        {
            all.fetch_sub(partitions, Ordering::Relaxed);
            return false;
        }
        self.partitions = partitions;
        true
    }
}

/// A partition that a client reads, as it named it, and what it was last told of it.
#[derive(Clone, Debug)]
struct Place {
    topic: Text,
    topic_id: TopicId,
    partition: i32,
    offset: i64,
    bytes_max: i32,
    leader_epoch: i32,
    told: Option<(i64, i64)>,
}

impl Place {
    fn is_in(&self, topic: &Text, topic_id: TopicId) -> bool {
        self.topic_id == topic_id && self.topic == *topic
    }
}

/// What to do for a fetch request.
#[derive(Debug)]
pub struct Plan {
    /// Where to read, or why not, for each partition.
    pub targets: Vec<Target>,
    /// When to answer, and with how much.
    pub bounds: Bounds,
    places: Vec<Place>,
    session: Option<FetchSession>,
    /// Whether partitions without news are left out.
    incremental: bool,
}

/// An answer: the message, the ranges that stand in its gaps, what it refuses, and the session that
/// goes on.
#[derive(Debug)]
pub struct Answer {
    /// The message.
    pub response: FetchResponse,
    /// The bytes for its gaps, in order.
    pub ranges: Vec<ReadRange>,
    /// What it refuses.
    pub refused: Refused,
    /// What the connection remembers.
    pub session: Option<FetchSession>,
}

/// Decides what a fetch request means. Bounds beyond the server's are cut to them.
///
/// # Errors
/// The answer, when there is nothing to read.
pub fn plan(
    request: FetchRequest,
    version: i16,
    session: Option<FetchSession>,
    sessions: &Arc<Sessions>,
    context: &Context<'_>,
) -> Result<Plan, Box<Answer>> {
    if let Err(error) = refuse_replica(request.replica_id.max(request.replica_state.replica_id)) {
        return Err(refused(error));
    }
    let named = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if let Err(error) = fetch::check_count(named) {
        return Err(refused(error));
    }
    let bounds = bounds(&request);
    let incremental = request.session_id != 0 && request.session_epoch > INITIAL_EPOCH;
    let (places, session) = match incremental {
        true => {
            let mut session = resume(&request, session)?;
            let places = session.update(request)?;
            (places, Some(session))
        }
        false => {
            drop(session);
            let wants_session = request.session_epoch == INITIAL_EPOCH;
            let places: Vec<Place> = request.topics.into_iter().flat_map(places_of).collect();
            let session =
                if wants_session { FetchSession::begin(places.len(), sessions) } else { None };
            (places, session)
        }
    };
    let by_id = version >= IDS_FROM;
    let targets = places.iter().map(|place| target(place, by_id, context)).collect();
    Ok(Plan { targets, bounds, places, session, incremental })
}

fn bounds(request: &FetchRequest) -> Bounds {
    let bytes_max = clamp(request.max_bytes);
    Bounds {
        reader: fetch::reader(request.isolation_level != 0),
        bytes_max,
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
        wait_ms: u32::try_from(request.max_wait_ms).unwrap_or(0).min(limits::FETCH_WAIT_MS_MAX),
    }
}

/// At least one byte, which is one batch.
fn clamp(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0).clamp(1, limits::FETCH_BYTES_MAX)
}

fn places_of(topic: FetchRequestTopic) -> impl Iterator<Item = Place> {
    let (name, topic_id) = (topic.topic, topic.topic_id);
    topic.partitions.into_iter().map(move |partition| place(&name, topic_id, &partition))
}

fn place(topic: &Text, topic_id: TopicId, partition: &FetchRequestPartition) -> Place {
    Place {
        topic: topic.clone(),
        topic_id,
        partition: partition.partition,
        offset: partition.fetch_offset,
        bytes_max: partition.partition_max_bytes,
        leader_epoch: partition.current_leader_epoch,
        told: None,
    }
}

fn target(place: &Place, by_id: bool, context: &Context<'_>) -> Target {
    let found = find(place.topic_id, &place.topic, by_id, context)?;
    let cursor =
        fetch::cursor(&found, place.partition, Offset(place.offset), clamp(place.bytes_max))?;
    check_epoch(place.leader_epoch, cursor.handle.view().epoch.0)?;
    Ok(cursor)
}

/// The session that a request goes on with.
fn resume(
    request: &FetchRequest,
    session: Option<FetchSession>,
) -> Result<FetchSession, Box<Answer>> {
    let code = match session {
        Some(session) if session.id == request.session_id => {
            if session.epoch == request.session_epoch {
                return Ok(session);
            }
            ErrorCode::InvalidFetchSessionEpoch
        }
        _ => ErrorCode::FetchSessionIdNotFound,
    };
    Err(session_error(code))
}

/// The client begins a new session after this, which is the ordinary course of things, so nobody
/// counts it as a refusal.
fn session_error(code: ErrorCode) -> Box<Answer> {
    let response = FetchResponse { error_code: code.code(), ..FetchResponse::default() };
    Box::new(Answer { response, ranges: Vec::new(), refused: Refused::new(), session: None })
}

fn refused(error: Error) -> Box<Answer> {
    let response = FetchResponse { error_code: code(&error), ..FetchResponse::default() };
    Box::new(Answer { response, ranges: Vec::new(), refused: vec![error], session: None })
}

impl FetchSession {
    /// A new session, if the node has room for it; without one the client names everything again,
    /// which costs more and works as well.
    fn begin(partitions: usize, sessions: &Arc<Sessions>) -> Option<FetchSession> {
        let mut share = Share { sessions: Arc::clone(sessions), partitions: 0 };
        if partitions == 0 || !share.resize(partitions) {
            return None;
        }
        // Ids are positive and come again only after two thousand million sessions.
        let id = sessions.last_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        Some(FetchSession { id: id.max(1), epoch: 1, places: Vec::new(), share })
    }

    /// Takes in what a request changes; everything that is read now.
    fn update(&mut self, request: FetchRequest) -> Result<Vec<Place>, Box<Answer>> {
        let mut places = std::mem::take(&mut self.places);
        for topic in &request.forgotten_topics_data {
            places.retain(|place| {
                !(place.is_in(&topic.topic, topic.topic_id)
                    && topic.partitions.contains(&place.partition))
            });
        }
        let changed: Vec<Place> = request.topics.into_iter().flat_map(places_of).collect();
        merge(&mut places, changed);
        if places.len() > limits::REQUEST_PARTITIONS_MAX || !self.share.resize(places.len()) {
            return Err(session_error(ErrorCode::FetchSessionIdNotFound));
        }
        // After the largest epoch comes 1: 0 and -1 have a meaning of their own.
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        Ok(places)
    }

    /// What is remembered until the next request. Partitions that had something to say go to the
    /// end of the line, so that each gets its share of a full answer.
    fn keep(&mut self, places: Vec<Place>, reads: &[bool]) {
        let (told, silent): (Vec<_>, Vec<_>) =
            places.into_iter().zip(reads).partition(|(_, told)| **told);
        self.places = silent.into_iter().chain(told).map(|(place, _)| place).collect();
    }
}

/// Replaces the places that are there and adds the others. What a partition was last told stays,
/// unless it is read from elsewhere than one would expect; the answer is then complete anyway.
fn merge(places: &mut Vec<Place>, changed: Vec<Place>) {
    let key = |place: &Place| (place.topic_id, place.topic.clone(), place.partition);
    let mut index: std::collections::BTreeMap<_, usize> = std::collections::BTreeMap::new();
    if changed.len() > 1 {
        index = places.iter().enumerate().map(|(at, place)| (key(place), at)).collect();
    }
    for change in changed {
        let at = match index.is_empty() {
            true => places.iter().position(|place| key(place) == key(&change)),
            false => index.get(&key(&change)).copied(),
        };
        match at {
            Some(at) => places[at] = Place { told: places[at].told, ..change },
            None => {
                if !index.is_empty() {
                    index.insert(key(&change), places.len());
                }
                places.push(change);
            }
        }
    }
}

impl Plan {
    /// The answer once there is enough to tell.
    #[must_use]
    pub fn answer(mut self, found: Found) -> Answer {
        found.count(&self.targets);
        let mut answer = Answer {
            response: FetchResponse::default(),
            ranges: Vec::new(),
            refused: Refused::new(),
            session: None,
        };
        let mut has_data = Vec::with_capacity(self.places.len());
        for (place, read) in self.places.iter_mut().zip(found.reads) {
            let told = Some((read.high_watermark, read.log_start_offset));
            let is_news = read.error.is_some() || read.range.is_some() || place.told != told;
            has_data.push(read.range.is_some());
            // An error is told again until it is over.
            place.told = if read.error.is_some() { None } else { told };
            if is_news || !self.incremental {
                answer.add(place, read);
            }
        }
        if let Some(mut session) = self.session {
            answer.response.session_id = session.id;
            session.keep(self.places, &has_data);
            answer.session = Some(session);
        }
        answer
    }
}

impl Answer {
    /// Adds a partition, to the topic before it if it is the same.
    fn add(&mut self, place: &Place, read: Read) {
        let responses = &mut self.response.responses;
        let is_same =
            responses.last().is_some_and(|topic| place.is_in(&topic.topic, topic.topic_id));
        if !is_same {
            responses.push(FetchResponseTopic {
                topic: place.topic.clone(),
                topic_id: place.topic_id,
                partitions: Vec::new(),
            });
        }
        let topic = responses.last_mut().expect("one was just added if there was none");
        let records = match &read.range {
            Some(range) => Records::Foreign { len: range.len() },
            None => Records::default(),
        };
        topic.partitions.push(FetchResponsePartition {
            partition_index: place.partition,
            error_code: read.error.map_or(0, |error| note(&mut self.refused, error)),
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start_offset: read.log_start_offset,
            records: Some(records),
            ..FetchResponsePartition::default()
        });
        self.ranges.extend(read.range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(partition: i32, offset: i64) -> Place {
        Place {
            topic: Text::from_static("t"),
            topic_id: TopicId::default(),
            partition,
            offset,
            bytes_max: 1,
            leader_epoch: -1,
            told: None,
        }
    }

    fn request(session_id: i32, session_epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
        let partitions = partitions.iter().map(|&(partition, fetch_offset)| {
            FetchRequestPartition { partition, fetch_offset, ..FetchRequestPartition::default() }
        });
        let topic = FetchRequestTopic {
            topic: Text::from_static("t"),
            partitions: partitions.collect(),
            ..FetchRequestTopic::default()
        };
        FetchRequest { session_id, session_epoch, topics: vec![topic], ..FetchRequest::default() }
    }

    fn offsets(session: &FetchSession) -> Vec<(i32, i64)> {
        session.places.iter().map(|place| (place.partition, place.offset)).collect()
    }

    /// KIP-227: what a request does not name stays, what it forgets goes, and who had something to
    /// say goes to the end of the line.
    #[test]
    fn a_session_keeps_what_its_requests_leave_out() {
        let sessions = Arc::new(Sessions::default());
        let mut session = FetchSession::begin(3, &sessions).expect("room");
        let places = vec![place_of(0, 10), place_of(1, 20), place_of(2, 30)];
        session.keep(places, &[true, false, false]);
        assert_eq!(offsets(&session), [(1, 20), (2, 30), (0, 10)]);

        let mut change = request(session.id, 1, &[(0, 11), (3, 40)]);
        change.forgotten_topics_data.push(crate::protocol::kafka::FetchRequestForgottenTopic {
            topic: Text::from_static("t"),
            partitions: vec![2],
            ..Default::default()
        });
        let places = session.update(change).expect("room");
        session.keep(places, &[false; 3]);
        assert_eq!(offsets(&session), [(1, 20), (0, 11), (3, 40)]);
        assert_eq!(session.epoch, 2);
        assert_eq!(sessions.partitions.load(Ordering::Relaxed), 3);
        drop(session);
        assert_eq!(sessions.partitions.load(Ordering::Relaxed), 0, "the room is others'");
    }

    #[test]
    fn a_session_that_is_gone_or_out_of_step_is_told_so() {
        let sessions = Arc::new(Sessions::default());
        let code = |request: &FetchRequest, session| {
            resume(request, session).map(|_| 0).unwrap_or_else(|a| a.response.error_code)
        };
        let not_found = ErrorCode::FetchSessionIdNotFound.code();
        assert_eq!(code(&request(7, 1, &[]), None), not_found);
        let session = FetchSession::begin(1, &sessions).expect("room");
        let id = session.id;
        let out_of_step = ErrorCode::InvalidFetchSessionEpoch.code();
        assert_eq!(code(&request(id, 2, &[]), Some(session)), out_of_step);
        let session = FetchSession::begin(1, &sessions).expect("room");
        assert_eq!(code(&request(session.id + 1, 1, &[]), Some(session)), not_found);
        let session = FetchSession::begin(1, &sessions).expect("room");
        assert_eq!(code(&request(session.id, 1, &[]), Some(session)), 0);
    }

    /// L4: past the bound clients go on without sessions.
    #[test]
    fn all_sessions_together_remember_no_more_than_there_is_room_for() {
        let sessions = Arc::new(Sessions::default());
        let most = limits::FETCH_SESSION_PARTITIONS_MAX;
        let first = FetchSession::begin(most - 1, &sessions).expect("room");
        assert!(FetchSession::begin(2, &sessions).is_none());
        assert!(FetchSession::begin(1, &sessions).is_some(), "refusing took nothing");
        drop(first);
        assert!(FetchSession::begin(2, &sessions).is_some());
    }

    /// A session whose requests change many partitions at once merges them like one by one.
    #[test]
    fn changes_are_merged_alike_however_many_come() {
        for count in [1, 2, 5] {
            let mut places = vec![place_of(0, 1), place_of(1, 1)];
            let changed: Vec<_> = (0..count).map(|partition| place_of(partition, 9)).collect();
            merge(&mut places, changed);
            let offsets: Vec<_> = places.iter().map(|p| (p.partition, p.offset)).collect();
            let mut expected = vec![(0, 9), (1, if count > 1 { 9 } else { 1 })];
            expected.extend((2..count).map(|partition| (partition, 9)));
            assert_eq!(offsets, expected, "{count}");
        }
    }
}
