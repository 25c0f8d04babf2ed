//! What stands in front of every request and response. A header says enough to be answered before
//! it is known whether the request is one that is served, so that is what is read first.

use super::api::ApiKey;
use super::codec::{DecodeError, EncodeError, Reader, Writer};
use super::wire::{Nullable, Shape, Text, Wire};
use crate::limits;

/// What a request says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// What is asked for.
    pub api: ApiKey,
    /// Version of the request and of its answer; one that is served.
    pub version: i16,
    /// What the answer has to repeat.
    pub correlation_id: i32,
    /// What the client calls itself, cut to [`limits::CLIENT_ID_BYTES_MAX`] bytes.
    pub client_id: Option<Text>,
}

/// Why a request can not be served, with what an answer needs if there can be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes end before the correlation id; there is nothing to answer.
    #[error("the request ends inside its header")]
    Truncated,
    /// No API that is served has this number.
    #[error("there is no API with number {code}")]
    UnknownApi {
        /// Number of the API.
        code: i16,
        /// Version of the request.
        version: i16,
        /// What an answer has to repeat.
        correlation_id: i32,
    },
    /// The API is served, but not in this version.
    #[error("{} is not served in version {version}", api.name())]
    UnsupportedVersion {
        /// What is asked for.
        api: ApiKey,
        /// Version of the request.
        version: i16,
        /// What an answer has to repeat.
        correlation_id: i32,
    },
    /// The rest of the header is not one.
    #[error("the header of a request for {} is malformed: {cause}", api.name())]
    Malformed {
        /// What is asked for.
        api: ApiKey,
        /// Version of the request.
        version: i16,
        /// What an answer has to repeat.
        correlation_id: i32,
        /// What is wrong with it.
        cause: DecodeError,
    },
}

/// The client id has the same form in every version of the header, also in those that are flexible.
const CLIENT_ID: Shape = Shape { version: 1, flexible: false, nullable: true };

impl RequestHeader {
    /// Takes the header off the front of a request; what is left is the request itself.
    ///
    /// # Errors
    /// When the request is not one that is served, or its header is malformed.
    pub fn decode(reader: &mut Reader) -> Result<RequestHeader, HeaderError> {
        let number = |_: DecodeError| HeaderError::Truncated;
        let code = reader.array().map(i16::from_be_bytes).map_err(number)?;
        let version = reader.array().map(i16::from_be_bytes).map_err(number)?;
        let correlation_id = reader.array().map(i32::from_be_bytes).map_err(number)?;
        let Some(api) = ApiKey::from_code(code) else {
            return Err(HeaderError::UnknownApi { code, version, correlation_id });
        };
        if !api.served().contains(&version) {
            return Err(HeaderError::UnsupportedVersion { api, version, correlation_id });
        }
        let client_id = read_rest(reader, api.request_header_version(version))
            .map_err(|cause| HeaderError::Malformed { api, version, correlation_id, cause })?;
        Ok(RequestHeader { api, version, correlation_id, client_id })
    }

    pub(super) fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.put(&self.api.code().to_be_bytes());
        writer.put(&self.version.to_be_bytes());
        writer.put(&self.correlation_id.to_be_bytes());
        self.client_id.write(writer, CLIENT_ID)?;
        if self.api.request_header_version(self.version) >= 2 {
            writer.unsigned_varint(0);
        }
        Ok(())
    }
}

fn read_rest(reader: &mut Reader, header_version: i16) -> Result<Option<Text>, DecodeError> {
    let client_id = Text::read_nullable(reader, CLIENT_ID)?.map(cut);
    if header_version >= 2 {
        let start = reader.position();
        reader.tags(|_, _| Ok(false))?;
        let bytes = reader.position() - start;
        if bytes > limits::KAFKA_HEADER_TAG_BYTES_MAX {
            return Err(DecodeError::HeaderTagsTooLarge(bytes));
        }
    }
    Ok(client_id)
}

fn cut(client_id: Text) -> Text {
    if client_id.len() <= limits::CLIENT_ID_BYTES_MAX {
        return client_id;
    }
    let boundary = |&at: &usize| client_id.is_char_boundary(at);
    let kept = (0..=limits::CLIENT_ID_BYTES_MAX).rev().find(boundary).unwrap_or(0);
    client_id.slice_ref(&client_id[..kept])
}

/// What stands in front of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// What the request's header said.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Appends the header of an answer of this API and version.
    pub fn encode(self, writer: &mut Writer, api: ApiKey, version: i16) {
        writer.put(&self.correlation_id.to_be_bytes());
        if api.response_header_version(version) >= 1 {
            writer.unsigned_varint(0);
        }
    }

    /// Takes the header of an answer of this API and version off the front.
    ///
    /// # Errors
    /// When the bytes are not such a header.
    pub fn decode(
        reader: &mut Reader,
        api: ApiKey,
        version: i16,
    ) -> Result<ResponseHeader, DecodeError> {
        let correlation_id = reader.array().map(i32::from_be_bytes)?;
        if api.response_header_version(version) >= 1 {
            reader.tags(|_, _| Ok(false))?;
        }
        Ok(ResponseHeader { correlation_id })
    }
}
