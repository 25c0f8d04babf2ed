//! What a request that is not executed is answered: as much as the protocol lets a server say to
//! somebody who may not understand it.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Asked, KafkaAnswer, end, metadata};
use crate::api::kafka::metadata as translate;
use crate::net::service::Payload;
use crate::protocol::error::ErrorCode as OwnCode;
use crate::protocol::kafka::{
    ApiKey, ErrorCode, HeaderError, Message, Reader, RequestHeader, response_frame,
};
use crate::protocol::kafka::{MetadataRequest, MetadataResponse, MetadataResponseTopic};
use crate::telemetry::Reason;

/// The answer to a request whose header can not be served.
pub(super) fn of_header(error: &HeaderError) -> KafkaAnswer {
    let text = error.to_string();
    match *error {
        // Whoever asks in a version of the future learns which there are, in the oldest form.
        HeaderError::UnsupportedVersion { api: ApiKey::ApiVersions, correlation_id, .. } => {
            let code = ErrorCode::UnsupportedVersion.code();
            let response = translate::versions(metadata::SERVED.iter().copied(), code);
            of_message(&response, 0, correlation_id)
        }
        HeaderError::Truncated => end(Reason::Malformed, OwnCode::Malformed, text),
        HeaderError::UnknownApi { correlation_id, .. }
        | HeaderError::UnsupportedVersion { correlation_id, .. } => {
            let answer = bare(correlation_id, ErrorCode::UnsupportedVersion);
            KafkaAnswer {
                end: Some((Reason::UnsupportedVersion, OwnCode::UnsupportedVersion, text)),
                ..answer
            }
        }
        HeaderError::Malformed { correlation_id, .. } => {
            let answer = bare(correlation_id, ErrorCode::InvalidRequest);
            KafkaAnswer { end: Some((Reason::Malformed, OwnCode::Malformed, text)), ..answer }
        }
    }
}

/// The answer to a request that can not be decoded: its header could.
pub(super) fn of_body(header: &RequestHeader, text: String) -> KafkaAnswer {
    let answer = bare(header.correlation_id, ErrorCode::InvalidRequest);
    KafkaAnswer { end: Some((Reason::Malformed, OwnCode::Malformed, text)), ..answer }
}

/// The answer to a request for an API that is spoken and not served.
pub(super) fn unserved(asked: &Asked) -> KafkaAnswer {
    let answer = bare(asked.header.correlation_id, ErrorCode::UnsupportedVersion);
    let text = format!("requests for {} are not served", asked.header.api.name());
    KafkaAnswer {
        end: Some((Reason::UnsupportedVersion, OwnCode::UnsupportedVersion, text)),
        ..answer
    }
}

/// The answer to somebody who may not be served. The versions are no secret, and without them a
/// client would not understand the rest; after the rest nothing more is read.
pub(super) fn of_request(
    frame: Bytes,
    reason: Reason,
    code: OwnCode,
    message: &str,
) -> KafkaAnswer {
    let mut reader = Reader::new(frame);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(error) => return of_header(&error),
    };
    let (version, id) = (header.version, header.correlation_id);
    let kafka_code = ErrorCode::from(code);
    let answer = match header.api {
        ApiKey::ApiVersions => {
            return of_message(
                &translate::versions(metadata::SERVED.iter().copied(), 0),
                version,
                id,
            );
        }
        // What clients ask next; most show the error of the topic they want.
        ApiKey::Metadata => match MetadataRequest::decode_whole(reader, version) {
            Ok(request) => of_message(&unauthorized(request, kafka_code.code()), version, id),
            Err(_) => bare(id, kafka_code),
        },
        _ => bare(id, kafka_code),
    };
    KafkaAnswer { end: Some((reason, code, message.to_owned())), ..answer }
}

fn unauthorized(request: MetadataRequest, error_code: i16) -> MetadataResponse {
    let topics = request.topics.unwrap_or_default().into_iter();
    MetadataResponse {
        error_code,
        topics: topics
            .map(|topic| MetadataResponseTopic {
                error_code,
                name: Some(topic.name.unwrap_or_default()),
                topic_id: topic.topic_id,
                ..MetadataResponseTopic::default()
            })
            .collect(),
        ..MetadataResponse::default()
    }
}

fn of_message<M: Message>(message: &M, version: i16, correlation_id: i32) -> KafkaAnswer {
    match response_frame(message, version, correlation_id) {
        Ok(encoded) => KafkaAnswer { frame: encoded.bytes.into(), ..KafkaAnswer::default() },
        Err(error) => end(Reason::Malformed, OwnCode::Malformed, error.to_string()),
    }
}

/// An answer that is nothing but the error, for requests whose answers can not be known.
fn bare(correlation_id: i32, code: ErrorCode) -> KafkaAnswer {
    const BYTES: i32 = 6;
    let mut frame = BytesMut::with_capacity(10);
    frame.put_i32(BYTES);
    frame.put_i32(correlation_id);
    frame.put_i16(code.code());
    KafkaAnswer { frame: Payload::from(frame.freeze()), ..KafkaAnswer::default() }
}
