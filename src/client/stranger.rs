//! Who is no rivvend, or another port of one, told by the first bytes of its answer: read as the
//! length of a frame those make no sense to anybody. Knows no sockets.

/// Bytes of an answer that are looked at, and shown where they are text.
const SHOWN_BYTES_MAX: usize = 40;

/// Which protocol an answer to our preface is of, in words; `None` while it may be ours.
pub(super) fn protocol_of(answer: &[u8]) -> Option<String> {
    let first: &[u8; 4] = answer.first_chunk()?;
    match first {
        b"HTTP" => Some("HTTP".to_owned()),
        b"SSH-" => Some("SSH".to_owned()),
        // A record of a handshake or an alert, whatever the version. So large no frame is.
        [0x14..=0x17, 0x03, ..] => Some("TLS".to_owned()),
        text if text.iter().all(|&byte| is_text(byte)) => Some(unknown(answer)),
        _ => None,
    }
}

fn is_text(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

fn unknown(answer: &[u8]) -> String {
    let line: Vec<u8> =
        answer.iter().copied().take_while(|&b| is_text(b)).take(SHOWN_BYTES_MAX).collect();
    format!("another protocol, with the answer {:?},", String::from_utf8_lossy(&line).trim_end())
}

// The length of a frame that is accepted has neither text nor a TLS version in its place.
const _: () = assert!(crate::limits::FRAME_BYTES_MAX < u32::from_be_bytes(*b"    ") as usize);
const _: () = assert!(crate::limits::FRAME_BYTES_MAX < 0x1403_0000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::frame::{Kind, StreamId, put_frame};
    use crate::protocol::native::message::ServerHello;

    #[test]
    fn other_protocols_are_told_by_four_bytes_and_ours_is_not_taken_for_one() {
        let told = |answer: &[u8]| protocol_of(answer).unwrap_or_default();
        assert_eq!(told(b"HTTP/1.1 400 Bad Request\r\n"), "HTTP");
        assert_eq!(told(b"SSH-2.0-OpenSSH_9.6\r\n"), "SSH");
        assert_eq!(told(&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]), "TLS");
        let mail = told(b"220 mail.example ESMTP\r\nforged");
        assert_eq!(mail, "another protocol, with the answer \"220 mail.example ESMTP\",");
        assert!(told(&[b'x'; 500]).len() < 100, "an answer without end is not repeated");
        assert_eq!(protocol_of(b"HTT"), None, "more may come");
        let mut ours = bytes::BytesMut::new();
        put_frame(&mut ours, Kind::Hello, StreamId(0), &ServerHello::default(), 0);
        assert_eq!(protocol_of(&ours), None);
    }
}
