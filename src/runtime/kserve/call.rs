//! One gRPC call: a message out, a message of bounded size back, within a deadline. The request is sent from the buffer it
//! was written to, so that a batch of images is not copied again into a library's buffer.

use std::{error::Error as _, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Version, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use prost::{
    Message,
    bytes::{BufMut, Bytes, BytesMut},
};
use tonic::{Code, ConnectError, Status, TimeoutExpired, body::Body, transport::Channel};
use tower::{Service, ServiceExt};

use crate::platform::files::bounded;

/// Bytes before each message: a flag for compression, and the length.
pub const PREFIX: usize = 5;

/// Why a call or a connection failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Completes a sentence that begins with 'grpc://gpu1:8001 cannot be used: '.
    pub text: String,
    /// Trying again would not help: the request itself is wrong.
    pub is_final: bool,
    /// The server does not know the call.
    pub is_unknown_call: bool,
}

impl Failure {
    pub fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_final: false, is_unknown_call: false }
    }

    pub fn lasting(text: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::passing(text) }
    }

    pub fn late(deadline: Duration) -> Self {
        Self::passing(format!("it did not answer within {deadline:?} (server-timeout)"))
    }

    fn of_status(status: &Status) -> Self {
        let code = status.code();
        let said = bounded(status.message());
        let said = if said.is_empty() { code.description().to_string() } else { said };
        let text = format!("it says: {said}");
        match code {
            Code::Unauthenticated | Code::PermissionDenied => Self::lasting(format!(
                "it refuses this client ({said}): check server-metadata, server-cert-file and server-key-file"
            )),
            Code::Unimplemented => Self { is_unknown_call: true, ..Self::passing(text) },
            _ => Self::passing(text),
        }
    }

    /// From a connection's error: the innermost cause says most.
    pub fn of_transport(error: &tonic::transport::Error) -> Self {
        let text = deepest(error).to_string();
        let text = bounded(text.split(" (os error").next().unwrap_or_default());
        if !text.contains("certificate") {
            return Self::passing(text);
        }
        let remedy = if text.contains("UnknownIssuer") || text.contains("BadSignature") {
            "; set server-ca-file to the authority that issued it"
        } else if text.contains("NotValidForName") || text.contains("not valid for") {
            "; use the name in the server's certificate in inference-server"
        } else {
            ""
        };
        Self::lasting(format!("TLS fails ({text}){remedy}"))
    }
}

/// A message after its prefix.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    put_prefix(&mut bytes, length);
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

pub fn put_prefix(buffer: &mut impl BufMut, length: usize) {
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).expect("a batch is under 4 GiB"));
}

/// How to make a call.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub path: &'static str,
    pub metadata: &'a HeaderMap,
    /// Largest message that is accepted.
    pub limit: usize,
    pub deadline: Duration,
}

impl Call<'_> {
    /// Sends a message after its prefix; returns the answer's message.
    pub async fn send(&self, channel: &Channel, message: Bytes) -> Result<Bytes, Failure> {
        let exchange = self.exchange(channel.clone(), message);
        tokio::time::timeout(self.deadline, exchange).await.unwrap_or(Err(Failure::late(self.deadline)))
    }

    /// Sends a message and reads the answer's.
    pub async fn ask<A: Message + Default>(
        &self,
        channel: &Channel,
        message: &impl Message,
    ) -> Result<A, Failure> {
        let answer = self.send(channel, framed(message)).await?;
        A::decode(answer).map_err(|_| Failure::passing("its answer is not a message of the protocol"))
    }

    async fn exchange(&self, mut channel: Channel, message: Bytes) -> Result<Bytes, Failure> {
        let mut request = http::Request::new(Body::new(Full::new(message)));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = http::Uri::from_static(self.path);
        let headers = request.headers_mut();
        headers.extend(self.metadata.clone());
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-timeout", timeout_value(self.deadline));
        let transport = |error: &tonic::transport::Error| {
            // The library reads the deadline from the headers, and enforces it, too.
            if deepest(error).is::<TimeoutExpired>() {
                Failure::late(self.deadline)
            } else if causes(error).any(|cause| cause.is::<ConnectError>()) {
                Failure::of_transport(error)
            } else {
                broken(&deepest(error).to_string())
            }
        };
        let ready = channel.ready().await.map_err(|error| transport(&error))?;
        let response = ready.call(request).await.map_err(|error| transport(&error))?;
        let (head, body) = response.into_parts();
        // A failure may come without a message, in the headers only.
        if let Some(status) = status_of(&head.headers)
            && status.code() != Code::Ok
        {
            return Err(Failure::of_status(&status));
        }
        let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
        if head.status != http::StatusCode::OK || !head.headers.get(header::CONTENT_TYPE).is_some_and(is_grpc)
        {
            return Err(Failure::passing(format!(
                "it answers with HTTP status {} instead of gRPC: is this its gRPC port?",
                head.status.as_u16()
            )));
        }
        self.read(body).await
    }

    /// Reads one message, and checks that nothing but success follows.
    async fn read(&self, mut body: Body) -> Result<Bytes, Failure> {
        let mut received = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|status| match status.source() {
                Some(source) => broken(&deepest(source).to_string()),
                None => broken(status.message()),
            })?;
            match frame.into_data() {
                Ok(data) => {
                    received.extend_from_slice(&data);
                    self.check_length(&received)?;
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            if body.is_end_stream() {
                break;
            }
        }
        match trailers.as_ref().and_then(status_of) {
            Some(status) if status.code() == Code::Ok => (),
            Some(status) => return Err(Failure::of_status(&status)),
            None => return Err(Failure::passing("its answer ends without a status")),
        }
        match length_of(&received) {
            Some(length) if received.len() == PREFIX + length => Ok(received.split_off(PREFIX).freeze()),
            _ => Err(Failure::passing("its answer ends too early")),
        }
    }

    /// Whether the answer has at most the expected bytes, judging by what has arrived.
    fn check_length(&self, received: &[u8]) -> Result<(), Failure> {
        if received.first().is_some_and(|flag| *flag != 0) {
            return Err(Failure::passing("its answer is compressed, although no compression was requested"));
        }
        let Some(length) = length_of(received) else { return Ok(()) };
        if length > self.limit {
            return Err(Failure::passing(format!(
                "its answer has {length} bytes, expected at most {}",
                self.limit
            )));
        }
        if received.len() > PREFIX + length {
            return Err(Failure::passing("its answer continues after its end"));
        }
        Ok(())
    }
}

/// The status in headers or trailers. Only known fields are passed to the library, which panics at details that are not
/// base64.
fn status_of(headers: &HeaderMap) -> Option<Status> {
    const READ: [&str; 2] = ["grpc-status", "grpc-message"];
    let read = READ.map(|name| Some((http::HeaderName::from_static(name), headers.get(name)?.clone())));
    Status::from_header_map(&read.into_iter().flatten().collect())
}

fn length_of(received: &[u8]) -> Option<usize> {
    let (_, rest) = received.split_first()?;
    let (length, _) = rest.split_first_chunk()?;
    Some(u32::from_be_bytes(*length) as usize)
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// An error, its cause, and so on.
fn causes<'a>(error: Cause<'a>) -> impl Iterator<Item = Cause<'a>> {
    std::iter::successors(Some(error), |error: &Cause<'a>| (**error).source())
}

fn deepest(error: Cause<'_>) -> Cause<'_> {
    causes(error).last().unwrap_or(error)
}

/// An existing connection was lost. Whether the answer had begun is a matter of chance.
fn broken(why: &str) -> Failure {
    Failure::passing(format!("the connection broke before its answer was complete ({})", bounded(why)))
}

/// At most eight digits and a unit.
fn timeout_value(deadline: Duration) -> HeaderValue {
    let (micros, millis) = (deadline.as_micros(), deadline.as_millis());
    let text = if micros < 100_000_000 {
        format!("{micros}u")
    } else if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", deadline.as_secs().min(99_999_999))
    };
    HeaderValue::try_from(text).expect("digits and a letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_have_at_most_eight_digits() {
        let value = |time| timeout_value(time).to_str().unwrap().to_string();
        assert_eq!(value(Duration::from_millis(1)), "1000u");
        assert_eq!(value(Duration::from_secs(99)), "99000000u");
        assert_eq!(value(Duration::from_secs(100)), "100000m");
        assert_eq!(value(Duration::from_secs(1_000_000)), "1000000S");
        assert_eq!(value(Duration::MAX), "99999999S");
    }
}
