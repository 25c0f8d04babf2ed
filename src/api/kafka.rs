//! What Kafka's messages have to do with the handlers: pure translation, so that both protocols
//! mean the same. Whatever goes wrong is explained once, in the native [`Error`]; Kafka's clients
//! get its code and, where their message has room for it, its text.

pub mod cluster;
pub mod committed;
pub mod configs;
pub mod fetch;
pub mod groups;
pub mod metadata;
pub mod offsets;
pub mod produce;
pub mod topics;

use super::{Context, Found, error};
use crate::protocol::error::ErrorCode as OwnCode;
use crate::protocol::kafka::{ErrorCode, Text};
use crate::protocol::native::message::Error;
use crate::types::TopicId;

/// What an answer refuses, to be counted.
pub type Refused = Vec<Error>;

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The code for an error.
#[must_use]
pub fn code(error: &Error) -> i16 {
    let own = error.error_code().unwrap_or(OwnCode::InvalidRequest);
    ErrorCode::from(own).code()
}

/// The explanation of an error.
#[must_use]
pub fn text(error: &Error) -> Option<Text> {
    Some(Text::from(error.message.as_str()))
}

/// Finds a topic by what the version of a request has for it: the id or the name. What is not there
/// has a code of its own in each case, and older clients do not know that of the ids.
///
/// # Errors
/// When there is none.
pub fn find(id: TopicId, name: &str, by_id: bool, context: &Context<'_>) -> Result<Found, Error> {
    if !by_id {
        return context.find(name);
    }
    let topic = context.image.topic_by_id(id).ok_or_else(|| error::unknown_topic_id(id))?;
    context.find(&topic.name).map_err(|_| error::unknown_topic_id(id))
}

/// Refuses a leader epoch that is not the present one: an older one belongs to a client that has
/// missed a change of leaders, a newer one to a change that this node has missed. A negative one
/// means that the client does not know.
///
/// # Errors
/// When it is not the present one.
pub fn check_epoch(claimed: i32, current: i32) -> Result<(), Error> {
    use std::cmp::Ordering;
    let code = match claimed.cmp(&current) {
        _ if claimed < 0 => return Ok(()),
        Ordering::Equal => return Ok(()),
        Ordering::Less => OwnCode::FencedLeaderEpoch,
        Ordering::Greater => OwnCode::UnknownLeaderEpoch,
    };
    let message = format!("the leader epoch is {current}, the request says {claimed}");
    Err(Error::new(code, message))
}

/// Refuses replicas on a port for clients: nobody proves there that he is one (CVE-2018-1288).
///
/// # Errors
/// When the request claims to be a replica's.
pub fn refuse_replica(replica: i32) -> Result<(), Error> {
    if replica < 0 {
        return Ok(());
    }
    let message = format!("this port serves clients, the request claims to be from node {replica}");
    Err(Error::new(OwnCode::ClusterAuthorizationFailed, message))
}

/// Takes note of an error, and says its code.
pub fn note(refused: &mut Refused, error: Error) -> i16 {
    let code = code(&error);
    refused.push(error);
    code
}
